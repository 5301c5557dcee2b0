"""Finds the one label in a text: a number alone, with the prompt's own name, or in JSON."""

import json
import re
from collections.abc import Iterator, Sequence

from rerankd_server.scoring import prompt
from rerankd_server.scoring.scorer import LABELS
from rerankd_server.scoring.thinking import without_thoughts

LABEL_KEYS = ("label", "score")
MORE_LABEL_KEYS = ("rating", "relevance", "relevance_score", "relevance_label", "value")
"""Keys of JSON, and heads of columns, that count where there is none of the others."""
_NO_LABEL_KEYS = ("confidence", "certainty", "probability", "rank", "index", "id", "position")
"""Keys of numbers that are something else."""

_LABEL = r"(?P<label>[0-9]{1,2})(?:\.0+)?"
_OUT_OF_TEN = r"\s{0,2}\(?(?:/|out of)\s{0,2}10(?:\.0+)?\)?"
_BOXED = r"\${0,2}\\boxed\{(?P<boxed>[0-9]{1,2})\}\${0,2}"
_ALONE = re.compile(
    rf"\s*(?P<mark>[*_`\"']{{0,4}}){_LABEL}"
    rf"(?:\.?(?P=mark)(?:{_OUT_OF_TEN})?|{_OUT_OF_TEN}\.?(?P=mark))(?<!\.)\.?\s*"
    rf"|\s*{_BOXED}\.?\s*",
    re.IGNORECASE,
)
"""A label that nothing makes another number of: 7, 7.0, 7., **7**, 7/10."""
_AS_LABEL = re.compile(rf"\s*{_LABEL}(?:{_OUT_OF_TEN})?\s*", re.IGNORECASE)

_RANGE = r"(?:,? ?[(\[]?(?:0 ?(?:to|-|\N{EN DASH}) ?10|out of 10|/ ?10)[)\]]?)?"
"""The prompt's last words are "The label, 0 to 10:"."""
_NAME = (
    r"(?:(?:the|my|its|final|overall)\s){0,3}"
    rf"(?:(?:relevance[ _])?(?:label|score|rating)|relevance){_RANGE}[*_`\"']{{0,4}}"
)
_SCORE = re.compile(
    rf"^[\s>#*_`\"'\N{{BULLET}}-]*{_NAME}\s?(?:[:=]|is\b:?)"
    r"|(?:(?<!\w)(?<!\w\s)(?<!\w\s\s)|(?<=\bthe\s)|(?<=\bmy\s)|(?<=\ba\s)|(?<=\bits\s)"
    r"|(?<=\bfinal\s)|(?<=\boverall\s)|(?<=\brelevance\s))score\s?[:=]",
    re.IGNORECASE,
)
"""What names a label, in one line: at its beginning, or `score:` behind a sign."""
_NAME_ALONE = re.compile(rf"[\s>#*_`-]*{_NAME}\s?:[*_`]{{0,4}}", re.IGNORECASE)
"""A line that names the label on the next one."""
_AFTER_SCORE = re.compile(
    rf"[*_`\"'\s]*(?:{_LABEL}[*_`\"']{{0,4}}(?:{_OUT_OF_TEN})?[*_`\"']{{0,4}}|{_BOXED})"
    r"(?:\s*$|[.;!)](?![0-9]))",
    re.IGNORECASE,
)
"""A label that nothing makes another number of: at the end of its line, or of a clause."""

_NUMBER = re.compile(r"[^\w\n]*([0-9]{1,2})\b")
_ITEM = re.compile(r"\s*[0-9]{1,2}[.)]\s+")

_FENCE = re.compile(r"```\w{0,12}\s*")
_JSON_BEGINS = re.compile(r"[{\[]")
_IN_JSON = re.compile(r"[:\[,]\s*\"?\s*(?P<label>[0-9]{1,2})(?![0-9])")
_JSON_CLAIM = re.compile(
    r"\"(?:label|score|rating|relevance)\"\s?:\s?\"?([0-9]{1,2})\b", re.IGNORECASE
)
_ANCHORS = {line.lower(): int(line.partition(":")[0]) for line in prompt.ANCHORS.splitlines()}


class _Number(str):
    """A number in JSON, as it was written."""

    __slots__ = ()


def _number(digits: str) -> _Number:
    return _Number(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=without_thoughts,
    parse_int=_number,  # one too long for an int is no label either
    parse_float=_number,
)


def find_label(text: str) -> tuple[int, int | None] | None:
    """Return the one label in `text` and the place where its digits begin, as far as known."""
    begin, end = _unfenced(text)
    inside = text[begin:end]
    if match := _ALONE.fullmatch(inside):
        return _found(match, begin)
    if inside.startswith(("{", "```")) or inside.removesuffix("```").rstrip().endswith(("}", "]")):
        return _in_json(inside, begin)
    anchor = inside.rstrip(".").lower()
    if anchor in _ANCHORS:  # the prompt's own line, repeated
        return _ANCHORS[anchor], begin
    return _in_last_line(text)


def _unfenced(text: str) -> tuple[int, int]:
    """Return where `text` begins and ends without white space, and without a fence around all."""
    begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
    fence = _FENCE.match(text, begin, end)
    if fence is None or not text.endswith("```", fence.end(), end):
        return begin, max(begin, end)
    return fence.end(), fence.end() + len(text[fence.end() : end - 3].rstrip())


def _found(match: re.Match[str], begin: int) -> tuple[int, int] | None:
    """Return the label that `match` holds, and its place; what was matched begins at `begin`."""
    group = "label" if match["boxed"] is None else "boxed"
    label = int(match[group])
    return (label, begin + match.start(group)) if label in LABELS else None


def _in_last_line(text: str) -> tuple[int, int | None] | None:
    """Find the label that the last line names, unless a line before it claims another one."""
    body = text.rstrip()
    start = body.rfind("\n") + 1
    if _ALONE.fullmatch(body, start):
        before = body[:start].rstrip()
        name = before.rfind("\n") + 1
        start = name if _NAME_ALONE.fullmatch(before, name) else start
    line = body[start:]
    mentions = list(_SCORE.finditer(line))
    if len(mentions) != 1 or not (match := _AFTER_SCORE.match(line, mentions[0].end())):
        return None
    found = _found(match, start)
    if found is None or re.search("[0-9]", line[match.end() :]):  # "7. Or rather 8."
        return None
    name = mentions[0].start()
    item = _ITEM.match(line)
    before = body[:start] if item and item.end() >= name else body[: start + name]
    return found if all(claim == found[0] for claim in claims(before)) else None


def claims(text: str) -> Iterator[int]:
    """Yield the numbers that lines begin with, named as a label, or are, and those of JSON."""
    for line in text.splitlines():
        if (named := _SCORE.match(line)) and (match := _NUMBER.match(line, named.end())):
            yield int(match[1])
        elif match := _ALONE.fullmatch(line.rstrip(" \t,;:-").removesuffix(" or")):
            yield int(match["label"] or match["boxed"])
        yield from map(int, _JSON_CLAIM.findall(line))


def _in_json(text: str, start: int) -> tuple[int, int | None] | None:
    """Find the one number in JSON: under a key that names a label, or else of all.

    Where words stand around it, there has to be such a key, and they must claim no other label;
    those behind it must not hold any number.
    """
    match = _JSON_BEGINS.search(text)
    begin = match.start() if match else len(text)
    words = re.sub(r"```\w{0,12}$", "", text[:begin].rstrip()).strip()
    try:
        value, end = _DECODER.raw_decode(text, begin)
        rest = text[end:].strip().removeprefix("```").strip()
        named = [*_named(value, LABEL_KEYS)] or [*_named(value, MORE_LABEL_KEYS)]
        parts = named if named or words or rest else [value]
        numbers = [number for part in parts for number in _numbers(part)]
    except (ValueError, RecursionError):
        return None
    if re.search(r"[0-9{\[]", rest):
        return None
    if len(numbers) != 1 or (label := as_label(numbers[0])) is None:
        return None
    if any(claim != label for claim in claims(words)):
        return None
    places = [
        m.start("label") for m in _IN_JSON.finditer(text, begin, end) if int(m["label"]) == label
    ]
    return label, start + places[0] if len(places) == 1 else None


def _named(value: object, keys: Sequence[str]) -> Iterator[object]:
    """Yield what stands under `keys` in decoded JSON, where objects are tuples of pairs."""
    match value:
        case tuple():
            for key, inner in value:
                if key.lower() in keys:
                    yield inner
                else:
                    yield from _named(inner, keys)
        case list():
            for inner in value:
                yield from _named(inner, keys)


def _numbers(value: object) -> Iterator[str]:
    """Yield the numbers in decoded JSON, and the texts that are a label."""
    match value:
        case _Number():
            yield value
        case str() if as_label(value) is not None:
            yield value
        case tuple():
            for key, inner in value:
                if key.lower() not in _NO_LABEL_KEYS:
                    yield from _numbers(inner)
        case list():
            for inner in value:
                yield from _numbers(inner)


def as_label(text: str) -> int | None:
    """Return the label that `text` is, as "7", "7.0" or "7/10"."""
    match = _AS_LABEL.fullmatch(text)
    return int(match["label"]) if match and int(match["label"]) in LABELS else None
