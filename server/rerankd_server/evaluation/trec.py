"""TREC's files: queries and documents by tabs, judgements (qrels) and runs by white space."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from rerankd_server.evaluation.lines import (
    CollectionError,
    label_in,
    number_in,
    numbered,
    objects,
    rank_in,
    shown,
    wrong,
)

_ID_KEYS = ("_id", "id", "docid")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of qrels."""

    file: str
    line: int
    query: str
    document: str
    label: int


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One line of a run."""

    file: str
    line: int
    query: str
    document: str
    rank: int
    score: float


Row = TypeVar("Row", Judgement, Retrieved)


def parse_queries(lines: Iterable[bytes], name: str) -> Mapping[str, str]:
    """Read queries by id: `qid<TAB>query`. Raises CollectionError."""
    queries: dict[str, str] = {}
    for line, identifier, text in _tabbed(numbered(lines, name), name, "qid<TAB>query"):
        add_query(queries, identifier, text, name, line)
    return queries


def add_query(queries: dict[str, str], identifier: str, text: str, name: str, line: int) -> None:
    """Add a query of a file's line. Raises CollectionError where it is empty, or there already."""
    if not text.strip():
        raise wrong(name, line, f"query {shown(identifier)} is empty; give its text")
    if identifier in queries:
        raise wrong(name, line, f"query {shown(identifier)} is there twice; keep one")
    queries[identifier] = text


def parse_texts(lines: Iterable[bytes], name: str, wanted: Container[str]) -> Mapping[str, str]:
    """Read documents by id: `docid<TAB>text`, or JSON lines with `_id`, `id` or `docid`.

    Of documents that are not `wanted` the id alone is kept: a corpus may be larger than memory.
    Raises CollectionError.
    """
    lines = iter(lines)
    first = next(lines, b"")
    is_json = first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    lines = chain([first], lines)
    texts: dict[str, str] = {}
    for line, identifier, text in (
        _from_json(lines, name)
        if is_json
        else _tabbed(numbered(lines, name), name, "docid<TAB>text")
    ):
        if identifier in texts:
            raise wrong(name, line, f"document {shown(identifier)} is there twice; keep one")
        texts[identifier] = text if identifier in wanted else ""
    return texts


def parse_qrels(lines: Iterable[bytes], name: str) -> Sequence[Judgement]:
    """Read judgements: `qid 0 docid label`. Raises CollectionError."""
    return distinct(
        Judgement(name, line, query, document, label_in(label, name, line))
        for line, (query, _, document, label) in _columns(lines, name, "qid 0 docid label")
    )


def parse_run(lines: Iterable[bytes], name: str) -> Sequence[Retrieved]:
    """Read a first stage's ranking: `qid Q0 docid rank score tag`. Raises CollectionError."""
    return distinct(
        Retrieved(
            name,
            line,
            query,
            document,
            rank_in(rank, name, line),
            number_in(score, "score", name, line),
        )
        for line, (query, _, document, rank, score, _) in _columns(
            lines, name, "qid Q0 docid rank score tag"
        )
    )


def distinct(rows: Iterable[Row]) -> Sequence[Row]:
    """Give the rows. Raises CollectionError where one names the pair of an earlier one."""
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        pair = row.query, row.document
        if earlier := seen.get(pair):
            raise wrong(
                row.file,
                row.line,
                f"query {shown(row.query)} and document {shown(row.document)} are there already, "
                f"on line {earlier.line}; keep one",
            )
        seen[pair] = row
    return list(seen.values())


def identifier_in(value: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """Give the first of `keys` that an object has, as a text; None where it has none."""
    for key in keys:
        found = value.get(key)
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return None


def _from_json(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str, str]]:
    for line, value in objects(lines, name):
        identifier = identifier_in(value, _ID_KEYS)
        text, title = value.get("text"), value.get("title") or ""
        if identifier is None:
            raise wrong(name, line, f"the document has no id; give it as {_ID_KEYS[0]!r}, a string")
        if not isinstance(text, str) or not isinstance(title, str):
            raise wrong(name, line, '"text" has to be a string, and "title" too')
        yield line, identifier, f"{title} {text}".strip()


def _tabbed(
    lines: Iterable[tuple[int, str]], name: str, form: str
) -> Iterator[tuple[int, str, str]]:
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) != 2 or not columns[0].strip():
            raise misshapen(name, number, len(columns), form)
        yield number, columns[0].strip(), columns[1].strip()


def _columns(lines: Iterable[bytes], name: str, form: str) -> Iterator[tuple[int, Sequence[str]]]:
    for number, line in numbered(lines, name):
        columns = line.split()
        if len(columns) != len(form.split()):
            raise misshapen(name, number, len(columns), form)
        yield number, columns


def misshapen(name: str, line: int, columns: int, form: str) -> CollectionError:
    """Give the error for a line with so many columns, that ought to be `form`."""
    return wrong(name, line, f"has {columns} columns; a line has to be `{form}`")
