"""How good rankings are, per query, as ir-measures computes it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import ir_measures
from ir_measures import RR, R, nDCG

from rerankd_server.evaluation.collection import Query

NDCG, MRR, RECALL = "nDCG@10", "MRR@10", "R@10"
"""nDCG is of labels as they are (gain = label), against the best order of all judged documents.

Recall is cut at 10 as well: of the relevant documents that are known, how many the reader of a
first page gets. Cut at the number of candidates it would tell what the first stage found, which no
order of them changes.
"""
MEASURES = (NDCG, MRR, RECALL)

Quality = Mapping[str, float]
"""A value from 0 to 1 for each of MEASURES."""


def measure(rankings: Sequence[tuple[Query, Sequence[int]]], relevant: int = 1) -> list[Quality]:
    """Give the quality of each ranking: positions in the query's candidates, best first.

    A document counts as relevant from label `relevant` on, which is 1 or more, for MRR and recall.
    A query without any relevant document is worth 0, as trec_eval has it.
    """
    names = {
        nDCG @ 10: NDCG,
        RR(rel=relevant) @ 10: MRR,
        R(rel=relevant) @ 10: RECALL,
    }
    found = [dict.fromkeys(MEASURES, 0.0) for _ in rankings]
    qrels = [
        ir_measures.Qrel(str(number), document, label)
        for number, (query, _) in enumerate(rankings)
        for document, label in _judged(query)
    ]
    run = [
        ir_measures.ScoredDoc(str(number), str(position), score)
        for number, (_, order) in enumerate(rankings)
        for position, score in scored(order)
    ]
    for value in ir_measures.iter_calc(list(names), qrels, run):
        found[int(value.query_id)][names[value.measure]] = value.value
    return list(found)


def scored(order: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Give falling scores to an order, so that whoever sorts by score gets just that order."""
    for place, position in enumerate(order):
        yield position, float(len(order) - place)


def _judged(query: Query) -> Iterable[tuple[str, int]]:
    """Name each judged document, by position or as one that is elsewhere, with its gain."""
    for position, candidate in enumerate(query.candidates):
        if candidate.label is not None:
            yield str(position), max(0, candidate.label)  # some tracks label spam below 0
    for number, label in enumerate(query.elsewhere):
        yield f"elsewhere {number}", max(0, label)
