"""Scores by how near a document's embedding is to the query's: (1 + cosine) / 2."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np

from rerankd_server.errors import RequestRejectedError
from rerankd_server.scoring.parts import by_source, dearest
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Reason,
    Scorer,
    Source,
    Unscored,
    Vector,
    rounded,
)

_QUERY = -1
"""The query's place: it is asked about before the first document."""
_DIFFERENT = Unscored(
    Reason.FAILED,
    RequestRejectedError(
        "the provider's model gives, or gave, embeddings of different dimensions; set "
        "`provider_name` on the server to leave the stored ones behind"
    ),
)


class Similarity(Scorer):
    """Compares what `vectors` gives for the query and for each document.

    `query_prefix` and `document_prefix` stand before the texts, as some models want it. In usage
    the query's embedding counts as a pair.
    """

    def __init__(
        self, vectors: Scorer[Vector], query_prefix: str = "", document_prefix: str = ""
    ) -> None:
        self._vectors = vectors
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score each candidate once the query's vector is known too; see `Scorer.score`."""
        texts = [self._query_prefix + ask.query]
        texts += [self._document_prefix + candidate.text for candidate in candidates]
        asked = [Candidate(text) for text in texts]
        query: Vector | None = None
        lost: Unscored | None = None
        sources: dict[int, Source] = {}
        waiting: dict[int, Vector] = {}
        everything = replace(ask, query="", instruction="")
        async with aclosing(self._vectors.score(everything, asked)) as steps:
            async for step in steps:
                query, lost = step.found.get(0, query), step.unscored.get(0, lost)
                waiting.update((place - 1, v) for place, v in step.found.items() if place)
                sources.update(dict.fromkeys((place - 1 for place in step.found), step.source))
                failed = {place - 1: why for place, why in step.unscored.items() if place}
                if lost is not None:
                    failed.update(dict.fromkeys(waiting, lost))
                    waiting.clear()
                yield Progress(unscored=failed, usage=step.usage)
                if query is None:
                    continue
                values = _compared(query, waiting)
                yield Progress(unscored=dict.fromkeys(waiting.keys() - values.keys(), _DIFFERENT))
                of_query = sources[_QUERY]
                dearer = {p: dearest([sources[p], of_query]) for p in values}
                for progress in by_source(values, {}, dearer):
                    yield progress
                waiting.clear()


def _compared(query: Vector, documents: Mapping[int, Vector]) -> Mapping[int, float]:
    """Compare each of `documents` whose vector has as many dimensions as the query's."""
    alike = {p: v.data for p, v in documents.items() if len(v.data) == len(query.data)}
    if not alike:
        return {}
    matrix = np.frombuffer(b"".join(alike.values()), "<f4").reshape(len(alike), -1)
    cosines = matrix @ np.frombuffer(query.data, "<f4")
    scores = np.clip((1 + cosines.astype(float)) / 2, 0, 1)
    return {p: rounded(score) for p, score in zip(alike, scores.tolist(), strict=True)}
