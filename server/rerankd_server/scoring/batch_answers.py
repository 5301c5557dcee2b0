"""Reads a model's reply about several documents: the labels that the reply gives for certain.

What is asked for is one JSON object; what comes is that, the same in other words or other shapes, a
table, or lines such as `qd: 7`. Whatever gives a document a label is a claim. A document with
exactly one claim, which is exactly one label, has an answer; any other is left out, for the caller
to ask about again.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rerankd_server.scoring.answers import Answer, Reply, weigh, what_keeps_from_reading
from rerankd_server.scoring.labels import LABEL_KEYS, MORE_LABEL_KEYS, as_label
from rerankd_server.scoring.thinking import find_answer, without_thoughts

_LABEL = re.compile(
    r"([0-9]{1,2}(?:\.0+)?)[*_`\"]{0,4}(?:\s{0,2}(?:/|out of)\s{0,2}10[*_`\"]{0,4})?[\s|.,;]*"
)

_TAG = r"(?:(?:document|doc)[-_ ]{1,3})?(?P<code>[^\W_]{1,24})(?:-[0-9a-f]{6,24})?"
"""How a document is called: by its code, or as its tags in the prompt are."""
_LIKE_OURS = re.compile(r"(?:document|doc)[-_].+|[a-z]{2}")
"""Tags that are no marks: of documents, or of those that a model made up."""
_NAME = re.compile(rf"[<\[(\"'*_` ]{{0,8}}{_TAG}[>\])\"'*_` ]{{0,8}}", re.IGNORECASE)

_LINE = re.compile(
    r"^[ \t|>*_`+•-]*(?:[0-9]{1,2}[.)][ \t]+[*_`]*)?"  # a bullet, a table's edge, or "1."
    rf"[<\[(\"]?{_TAG}[*_`\">\])]*[ \t]*[:=|][ \t*_`\"]*(?P<label>.*)$",
    re.MULTILINE | re.IGNORECASE,
)
_MENTION = re.compile(
    r"(?<![^\W\d_/])(?P<code>[^\W\d_]{1,24})(?:-[0-9a-f]{6,24})?+(?=[^\w\n]{1,12}[0-9])"
    r"|[0-9][^\w\n]{0,11}[^\w\n/](?P<after>[^\W\d_]{1,24})",
    re.IGNORECASE,
)
"""A word with a number before it or behind it."""
_WORD = re.compile(r"[^\W\d_]+")
_ROW = re.compile(r"^[ \t]*\|(?P<cells>.+)\|[ \t\r]*$", re.MULTILINE)
_RULE = re.compile(r"[\s|:-]+")
"""What a table has between its head and its rows."""
_HEAD = re.compile(r"(?:the |final )?([a-z_ ]+?)(?: ?[(\[,] ?(?:0 ?(?:-|to) ?10|/ ?10)[)\]]?)?")
_ELEMENT = re.compile(rf"<(?P<tag>{_TAG})>(?P<label>[^<]*)</(?P=tag)>", re.IGNORECASE)
_MARKS = " \t*_`"

_JSON_BEGINS = re.compile(r"\{|\[\s*[\[{]")
_NEXT_OBJECT = re.compile(r",?[ \t\r]*\n\s*(?=\{)")
_PLACE = re.compile(
    r"\"(?P<code>[^\"\\]+)\"\s*"
    r"(?::\s*(?:\{\s*\"(?:label|score)\"\s*:)?|,\s*\"(?:label|score)\"\s*:)\s*\"?(?P<label>[0-9]{1,2})",
    re.IGNORECASE,
)
"""Where a label stands in JSON: the decoder does not tell."""

_CODE_KEYS = (
    *("id", "code", "name", "document", "doc", "tag"),
    *("document_id", "doc_id", "document_name"),
)

_DECODER = json.JSONDecoder(
    object_pairs_hook=without_thoughts,
    parse_int=str,  # a number too long for an int is like any other that is no label
    parse_float=str,
)

_Pairs = Sequence[tuple[str, object]]


class _Claim(NamedTuple):
    code: str
    text: str
    """What it says the label is."""
    place: int | None
    """Where that begins in the answer, as far as known."""


def read_answers(reply: Reply, codes: Sequence[str]) -> Mapping[str, Answer]:
    """Return what `reply` says of each of `codes`, which are distinct in lower case too.

    A reply with as many unknown codes as known ones has not followed: it says nothing.
    """
    known = {code.lower(): code for code in codes}
    span = find_answer(
        reply.text, lambda tag: bool(_LIKE_OURS.fullmatch(tag)) or _is_known(tag, known)
    )
    if what_keeps_from_reading(reply) or span is None:
        return {}
    found = _claims(reply.text[span.begin : span.end], known)
    before = _claims(span.preface, known)  # speaks against what it says, and not for it
    if found is None or before is None:
        return {}
    claims: dict[str, list[_Claim]] = {}
    unknown = 0
    against = (_Claim(claim.code, "", None) for claim in before if _is_known(claim.code, known))
    for claim in (*found, *against):
        code = known.get(_code(claim.code, known))
        if code is None:
            unknown += 1
        else:
            claims.setdefault(code, []).append(claim)
    if unknown >= len(claims):
        return {}
    return {
        code: weigh(reply, label, None if claim.place is None else span.begin + claim.place)
        for code, (claim, *others) in claims.items()
        if not others and (label := _label(claim.text)) is not None
    }


def _claims(answer: str, known: Mapping[str, str]) -> Sequence[_Claim] | None:
    """Return all that `answer` claims; None where it holds JSON that cannot be read."""
    match = _JSON_BEGINS.search(answer)
    if match is None:
        return [*_read_text(answer, known)]
    try:
        values, end = _decode(answer, match.start())
        pairs = [pair for value in values for pair in _pairs(value, known)]
    except (ValueError, RecursionError):
        return None
    begin = match.start()
    places: dict[tuple[str, str], int | None] = {}
    for place in _PLACE.finditer(answer, begin, end):
        pair = _code(place["code"], known), place["label"]
        places[pair] = None if pair in places else place.start("label")
    # What JSON says is not read again as lines; places stay what they are.
    around = f"{answer[:begin]}{' ' * (end - begin)}{answer[end:]}"
    return [
        *(_Claim(code, said, places.get((_code(code, known), said))) for code, said in pairs),
        *_read_text(around, known),
    ]


def _code(name: str, known: Mapping[str, str]) -> str:
    """Return the code, in lower case, of the document that is called `name`."""
    name = name.lower()
    match = None if name in known else _NAME.fullmatch(name)
    return match["code"] if match else name


def _is_known(name: str, known: Mapping[str, str]) -> bool:
    return _code(name, known) in known


def _label(text: str) -> int | None:
    match = _LABEL.fullmatch(text)
    return as_label(match[1]) if match else None


def _read_text(text: str, known: Mapping[str, str]) -> Iterator[_Claim]:
    """Find what rows of tables, elements and lines claim.

    Where a document is named before a number once more than that, nothing of it is certain.
    """
    claims = [*_read_shapes(text, known)]
    yield from claims
    claimed = Counter(_code(claim.code, known) for claim in claims)
    named = Counter((m["code"] or m["after"]).lower() for m in _MENTION.finditer(text))
    for code, times in named.items():
        if code in known and times > claimed[code]:
            yield _Claim(code, "", None)


def _read_shapes(text: str, known: Mapping[str, str]) -> Iterator[_Claim]:
    rows = dict(_read_tables(text, known))
    yield from rows.values()
    for match in _ELEMENT.finditer(text):
        said = match["label"]
        if match["code"].lower() in known or _label(said.strip()) is not None:
            place = match.start("label") + len(said) - len(said.lstrip())
            yield _Claim(match["code"], said.strip(), place)
    for match in _LINE.finditer(text):
        # A line that is one code and one label, or that begins as a known code's.
        is_claim = match["code"].lower() in known or _label(match["label"]) is not None
        if is_claim and match.start() not in rows:
            yield _Claim(match["code"], match["label"], match.start("label"))


def _read_tables(text: str, known: Mapping[str, str]) -> Iterator[tuple[int, _Claim]]:
    """Find the rows about one document: where they begin, and what they claim.

    Its label stands in the column that the table's head says. Without a head it is the only cell
    that is a label; with one that says none, or two, there is none but in a table of two columns.
    """
    head: Sequence[str] = ()
    for row in _ROW.finditer(text):
        cells = row["cells"].split("|")
        named = [n for n, cell in enumerate(cells) if _is_known(cell.strip(), known)]
        labels = [n for n, cell in enumerate(cells) if _label(cell.strip(_MARKS)) is not None]
        if _RULE.fullmatch(row["cells"]) or len(cells) == 1 or len(named) > 1:
            continue
        if not named and not labels:
            head = cells
            continue
        words = {word.lower() for word in _WORD.findall(row["cells"])}
        is_of_one = bool(head) or len(words & known.keys()) <= 1
        column = _label_column(head, cells, labels, named) if is_of_one else None
        said = "" if column is None else cells[column]
        before = sum(len(cell) + 1 for cell in cells[:column])
        place = row.start("cells") + before + len(said) - len(said.lstrip(_MARKS))
        code = cells[named[0]].strip() if named else ""  # of a document that does not exist
        if named or _label(said.strip(_MARKS)) is not None:
            yield row.start(), _Claim(code, said.strip(_MARKS), place)


def _label_column(
    head: Sequence[str], cells: Sequence[str], labels: Sequence[int], named: Sequence[int]
) -> int | None:
    """Return which of a row's `cells` is its label.

    `labels` are those that might be, and `named` is the one that names the document, if any does.
    """
    if len(cells) == 2 and named:
        return 1 - named[0]
    if not head:
        numbers = [n for n, cell in enumerate(cells) if cell.strip(_MARKS)[:1].isdecimal()]
        return labels[0] if len(numbers) == len(labels) == 1 else None
    if len(head) != len(cells):
        return None
    for keys in (LABEL_KEYS, MORE_LABEL_KEYS):
        found = [n for n, cell in enumerate(head) if _is_head(cell.strip(_MARKS).lower(), keys)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _is_head(cell: str, keys: Sequence[str]) -> bool:
    match = _HEAD.fullmatch(cell)
    return match is not None and match[1].replace(" ", "_") in keys


def _decode(text: str, begin: int) -> tuple[Sequence[object], int]:
    """Return the JSON in `text` from `begin` on, and where it ends.

    It is one value, or an object a line. Raises ValueError or RecursionError for any other, and for
    one that was cut off: its last "1" may have been about to become "10".
    """
    values: list[object] = []
    end = begin
    while True:
        value, end = _DECODER.raw_decode(text, end)
        values.append(value)
        following = _NEXT_OBJECT.match(text, end)
        if following is None:
            break
        end = following.end()
    if "{" in text[end:] or text[end : end + 1].isalnum():
        raise ValueError("there is more of it")
    return values, end


def _pairs(value: object, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of code and label in decoded JSON, where objects are tuples of pairs."""
    match value:
        case tuple():
            yield from _of_object(value, known)
        case [str(code), str(label)] if _is_known(code, known) or _label(label) is not None:
            yield code, label
        case list():
            for item in value:
                if isinstance(item, tuple | list):
                    yield from _pairs(item, known)


def _of_object(pairs: _Pairs, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of one object; its keys may say which value is the code and which the label.

    What stands below a document's own code is about that document or nothing.
    """
    named = _named(pairs)
    codes = [code for code in named if _is_known(code, known)]
    if codes:  # one that stands elsewhere makes all uncertain
        values = [_text(value) for _, value in pairs]
        codes = [code for code in values if _is_known(code, known)]
    is_nested = any(isinstance(inner, tuple | list) for _, inner in pairs)
    if codes or (named and not is_nested):
        distinct = {_code(code, known): code for code in codes or named}
        label = _label_of(pairs) if len(distinct) == 1 else ""
        yield from ((code, label) for code in distinct.values())
        return
    has_codes = any(_is_known(key, known) for key, _ in pairs)
    for key, inner in pairs:
        if _is_known(key, known):
            yield key, _of_code(_code(key, known), inner, known)
        elif not isinstance(inner, tuple | list):
            yield key, _text(inner)
        elif not has_codes:
            yield from _pairs(inner, known)
        elif isinstance(inner, tuple) and (label := _label_of(inner)):
            yield key, label


def _of_code(code: str, value: object, known: Mapping[str, str]) -> str:
    """Return what the label under the key `code` is, where that is about this document alone."""
    if not isinstance(value, tuple):
        return _text(value)
    others = {_code(name, known) for name in (*_named(value), *(key for key, _ in value))}
    return "" if (others - {code}) & known.keys() else _label_of(value)


def _named(pairs: _Pairs) -> list[str]:
    """Return what an object says that it is about."""
    return [_text(value) for key, value in pairs if key.lower() in _CODE_KEYS]


def _label_of(pairs: _Pairs) -> str:
    """Return what the one label among the members of an object is."""
    for keys in (LABEL_KEYS, MORE_LABEL_KEYS):
        labels = [value for key, value in pairs if key.lower() in keys]
        if labels:
            return _text(labels[0]) if len(labels) == 1 else ""
    return ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
