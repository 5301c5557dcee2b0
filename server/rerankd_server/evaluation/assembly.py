"""Puts queries, documents, judgements and a first stage's run together into a collection."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from rerankd_server.evaluation.collection import Candidate, Collection, Query, counted, evaluable
from rerankd_server.evaluation.lines import CollectionError, shown, wrong
from rerankd_server.evaluation.trec import Judgement, Retrieved

DEPTH = 100
"""How many candidates of a run are taken for each query, unless told otherwise."""

Texts = Mapping[str, str]
_Pool = Mapping[str, Sequence[tuple[str, float | None]]]
"""By query: documents in first-stage order, with their prior scores."""


def assemble(
    name: str,
    queries: Mapping[str, str],
    read_texts: Callable[[set[str]], Texts],
    judgements: Sequence[Judgement],
    run: Sequence[Retrieved] | None,
    depth: int | None = None,
) -> Collection:
    """Build a collection. Candidates are the first `depth` of the run, or of what is judged.

    Without `depth` they are the first DEPTH of the run, or all that is judged.

    `read_texts` gives the documents by id, with the texts at least of those it is asked for. A
    candidate without text cannot be ranked: it is left out, and its label stays in the ideal
    ranking. Raises CollectionError where a line names a query or a document that is not there.
    """
    rows: Sequence[Judgement | Retrieved] = [*judgements, *(run or ())]
    for row in rows:
        if row.query not in queries:
            raise _unknown(row, "query", row.query)
    pool = _judged(judgements, depth) if run is None else _retrieved(run, depth or DEPTH)
    texts = read_texts({document for pooled in pool.values() for document, _ in pooled})
    for row in rows:
        if row.document not in texts:
            raise _unknown(row, "document", row.document)

    labels: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for judgement in judgements:
        labels[judgement.query][judgement.document] = judgement.label
    empty = sum(not texts[document] for pooled in pool.values() for document, _ in pooled)
    collection = evaluable(
        name,
        (
            _query(identifier, text, pool.get(identifier, ()), texts, labels[identifier])
            for identifier, text in queries.items()
        ),
        [f"{counted(empty, 'candidate', 'candidates')} without text: left out"] if empty else [],
    )
    if not collection.queries:
        raise CollectionError(
            f"{name}: no query has both candidates and a judged document; "
            "are these files of the same collection?"
        )
    return collection


def _query(
    identifier: str,
    text: str,
    pooled: Iterable[tuple[str, float | None]],
    texts: Texts,
    labels: Mapping[str, int],
) -> Query:
    candidates = [
        Candidate(document, texts[document], labels.get(document), prior)
        for document, prior in pooled
        if texts[document]
    ]
    chosen = {candidate.id for candidate in candidates}
    elsewhere = tuple(label for document, label in labels.items() if document not in chosen)
    return Query(identifier, text, candidates, elsewhere)


def _retrieved(run: Iterable[Retrieved], depth: int) -> _Pool:
    """Order by score, as trec_eval does; equal scores by rank."""
    found: defaultdict[str, list[Retrieved]] = defaultdict(list)
    for row in run:
        found[row.query].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: (-row.score, row.rank))
    return {
        query: [(row.document, row.score) for row in rows[:depth]] for query, rows in found.items()
    }


def _judged(judgements: Iterable[Judgement], depth: int | None) -> _Pool:
    """Shuffle, the same way each time: qrels often list what is relevant first.

    A server leaves equal scores in the order of the request, so that order must give nothing away.
    """
    found: defaultdict[str, list[tuple[str, None]]] = defaultdict(list)
    for row in judgements:
        found[row.query].append((row.document, None))

    def by_lot(query: str) -> Callable[[tuple[str, None]], bytes]:
        return lambda each: hashlib.sha256(f"{query}\n{each[0]}".encode()).digest()

    return {query: sorted(each, key=by_lot(query))[:depth] for query, each in found.items()}


def _unknown(row: Judgement | Retrieved, what: str, identifier: str) -> CollectionError:
    plural = {"query": "queries", "document": "documents"}[what]
    return wrong(
        row.file,
        row.line,
        f"there is no {what} {shown(identifier)}; take the line out, or add it to the {plural}",
    )
