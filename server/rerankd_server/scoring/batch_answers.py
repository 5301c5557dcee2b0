"""Reads a model's reply about several documents: the labels that the reply gives for certain.

What is asked for is one JSON object; what comes is that, the same in other words, or lines such as
`qd: 7`. Whatever gives a document a label is a claim. A document with exactly one claim, which is
exactly one label, has an answer; any other is left out, for the caller to ask about again.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from rerankd_server.scoring.answers import Answer, Reply, find_answer, weigh
from rerankd_server.scoring.scorer import LABELS

_LABEL = re.compile(r"([0-9]{1,2})[*_`]*(?:\s*/\s*10[*_`]*)?[\s|.,;]*")

_LINE = re.compile(
    r"^[ \t|>*_`+•-]*(?:[0-9]{1,2}[.)][ \t]+[*_`]*)?"  # a bullet, a table's edge, or "1."
    r"(?P<code>[^\W_]+)[*_`]*[ \t]*[:=|][ \t*_`]*(?P<label>.*)$",
    re.MULTILINE,
)

_PLACE = re.compile(
    r"\"(?P<code>[^\"\\]+)\"\s*(?::|,\s*\"(?:label|score)\"\s*:)\s*\"?(?P<label>[0-9]{1,2})"
)
"""Where a label stands in JSON: the decoder does not tell."""

_CODE_KEYS = ("id", "code", "name")
_LABEL_KEYS = ("label", "score")

_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple,  # a dict would hide repeated keys
    parse_int=str,  # a number too long for an int is like any other that is no label
)


class _Claim(NamedTuple):
    code: str
    text: str
    """What it says the label is."""
    place: int | None
    """Where that begins in the answer, as far as known."""


def read_answers(reply: Reply, codes: Sequence[str]) -> Mapping[str, Answer]:
    """Give what `reply` says of each of `codes`, which are distinct in lower case too.

    A reply with as many unknown codes as known ones has not followed: it says nothing.
    """
    begin = find_answer(reply)
    if begin is None:
        return {}
    answer = reply.text[begin:]
    known = {code.lower(): code for code in codes}
    written = _read_json(answer, known)
    if written is None:
        return {}
    claims: dict[str, list[_Claim]] = {}
    unknown = 0
    for claim in (*written, *_read_lines(answer, known)):
        code = known.get(claim.code.lower())
        if code is None:
            unknown += 1
        else:
            claims.setdefault(code, []).append(claim)
    if unknown >= len(claims):
        return {}
    return {
        code: weigh(reply, label, None if claim.place is None else begin + claim.place)
        for code, (claim, *others) in claims.items()
        if not others and (label := _label(claim.text)) is not None
    }


def _label(text: str) -> int | None:
    match = _LABEL.fullmatch(text)
    return int(match[1]) if match and int(match[1]) in LABELS else None


def _read_lines(text: str, known: Collection[str]) -> Iterator[_Claim]:
    """Find lines that are one code and one label, and all others that begin as a known code's."""
    for match in _LINE.finditer(text):
        if match["code"].lower() in known or _label(match["label"]) is not None:
            yield _Claim(match["code"], match["label"], match.start("label"))


def _read_json(text: str, known: Collection[str]) -> Sequence[_Claim] | None:
    """Find what the one JSON object in `text` claims; None where what is there cannot be read.

    An object that was cut off says nothing: its last "1" may have been about to become "10".
    """
    begin = text.find("{")
    if begin < 0:
        return ()
    before = text[:begin].rstrip()
    if before.endswith("["):
        begin = len(before) - 1
    try:
        value, end = _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    if "{" in text[end:]:
        return None
    places = {
        (match["code"], match["label"]): match.start("label")
        for match in _PLACE.finditer(text, begin, end)
    }
    return [
        _Claim(code, label, places.get((code, label)))
        for code, label in (map(_text, pair) for pair in _pairs(value, known))
    ]


def _pairs(value: object, known: Collection[str]) -> Iterator[tuple[object, object]]:
    """Give the pairs of code and label in decoded JSON, where objects are tuples of pairs."""
    match value:
        case tuple(((str(key), tuple() | list() as inner),)) if key.lower() not in known:
            value = inner
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, tuple):
            yield from _item(item)


def _item(pairs: Sequence[tuple[object, object]]) -> Iterator[tuple[object, object]]:
    """Give one object's pairs; its keys may say which value is the code and which the label."""
    codes = [value for key, value in pairs if key in _CODE_KEYS]
    labels = [value for key, value in pairs if key in _LABEL_KEYS]
    if not codes:
        yield from pairs
    for code in codes:
        yield code, labels[0] if len(codes) == len(labels) == 1 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
