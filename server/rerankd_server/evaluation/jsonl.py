"""JSON lines: a query each, with its candidates and their labels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rerankd_server.evaluation.collection import Candidate, Collection, Query, evaluable
from rerankd_server.evaluation.lines import (
    LARGEST_LABEL,
    CollectionError,
    is_finite,
    objects,
    shown,
    wrong,
)
from rerankd_server.evaluation.trec import identifier_in


def parse_judged(
    lines: Iterable[bytes], name: str, depth: int | None = None, prior: str = ""
) -> Collection:
    """Read queries with `query`, `documents` (or `candidates`), and perhaps `qid`, `all_labels`.

    A document has `text`, and perhaps `id` (or `docid`), `label` and `prior_score`. Of each query
    the first `depth` documents are candidates. `prior` names the key of an object in each document
    whose `score` is its prior score. Raises CollectionError.
    """
    queries = list(_queries(lines, name, depth, prior))
    if prior and all(each.prior_score is None for query in queries for each in query.candidates):
        raise CollectionError(f'{name}: no candidate has "{prior}" with a "score"; see --prior')
    collection = evaluable(name, queries)
    if not collection.queries:
        raise CollectionError(f'{name}: no query has both documents and a "label"; add labels')
    return collection


def _queries(lines: Iterable[bytes], name: str, depth: int | None, prior: str) -> Iterator[Query]:
    seen: dict[str, int] = {}
    for line, value in objects(lines, name):
        identifier = identifier_in(value, ["qid"]) or str(line)
        if earlier := seen.get(identifier):
            raise wrong(name, line, f"query {shown(identifier)} is on line {earlier} too; keep one")
        seen[identifier] = line
        yield _query(value, identifier, _Place(name, line), depth, prior)


class _Place:
    """A line of a file: where something is wrong."""

    def __init__(self, name: str, line: int) -> None:
        self._name = name
        self._line = line

    def wrong(self, what: str) -> CollectionError:
        return wrong(self._name, self._line, what)


def _query(
    value: Mapping[str, Any], identifier: str, place: _Place, depth: int | None, prior: str
) -> Query:
    text = value.get("query")
    if not isinstance(text, str) or not text.strip():
        raise place.wrong('needs "query", a string that is not empty')
    listed = value.get("documents", value.get("candidates"))
    if not isinstance(listed, list):
        raise place.wrong('needs "documents", a list of objects')
    documents = [
        _candidate(document, number, place, prior) for number, document in enumerate(listed, 1)
    ]
    twice = [each for each, count in Counter(each.id for each in documents).items() if count > 1]
    if twice:
        raise place.wrong(f"document {shown(twice[0])} is there twice; keep one")
    candidates = documents[:depth]
    judged = _labels(candidates)
    # `all_labels` may be the topic's highest alone, so that a candidate's may be missing there.
    known = Counter(_all_labels(value, place)) | Counter(_labels(documents))
    return Query(identifier, text, candidates, tuple((known - Counter(judged)).elements()))


def _labels(candidates: Iterable[Candidate]) -> Sequence[int]:
    return [each.label for each in candidates if each.label is not None]


def _all_labels(value: Mapping[str, Any], place: _Place) -> Sequence[int]:
    labels = value.get("all_labels") or []
    if not isinstance(labels, list) or not all(_is_label(label) for label in labels):
        raise place.wrong('"all_labels" has to be a list of whole numbers')
    return labels


def _candidate(document: object, number: int, place: _Place, prior: str) -> Candidate:
    if not isinstance(document, dict):
        raise place.wrong(f"document {number} is not an object")
    text, label = document.get("text"), document.get("label")
    if not isinstance(text, str) or not text.strip():
        raise place.wrong(f'document {number} needs "text", a string that is not empty')
    if label is not None and not _is_label(label):
        raise place.wrong(
            f'the "label" of document {number} has to be a whole number up to {LARGEST_LABEL:,}'
        )
    first_stage = document.get(prior) if prior else None
    score = (
        first_stage.get("score") if isinstance(first_stage, dict) else document.get("prior_score")
    )
    if score is not None and not is_finite(score):
        raise place.wrong(f"the prior score of document {number} has to be a finite number")
    return Candidate(
        identifier_in(document, ("id", "docid")) or str(number),
        text,
        label,
        None if score is None else float(score),
    )


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_LABEL
