"""A blend: a scorer's score, moved a little towards a second opinion.

A convex combination with a prior that is min-max scaled within the request (Bruch et al., "An
Analysis of Fusion Functions for Hybrid Retrieval", 2023): (1 - weight) * score + weight * prior.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from rerankd_server.scoring.parts import (
    Known,
    by_source,
    dearest,
    identity_of,
    together,
)
from rerankd_server.scoring.prior import scaled_to_one
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Identity,
    Progress,
    Reason,
    Scorer,
    Source,
    Unscored,
    rounded,
)


class Blend:
    """Blends `scores` with `prior`, whose `weight` is from 0 to 1.

    A prior that has no opinion of a candidate (REFUSED), or the same of all, leaves it the score
    that it has: no opinion is not a 0. A prior that failed leaves it without a score, for a ranking
    half with and half without would be neither.
    """

    def __init__(self, scores: Scorer, prior: Scorer, weight: float) -> None:
        self._parts = (scores, prior)
        self._weight = weight
        self._identity = identity_of("blend", self._parts, weight=weight)

    @property
    def identity(self) -> Identity:
        """The parts', and the prior's weight."""
        return self._identity

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score each candidate, once the prior of all is known; see `Scorer.score`."""
        scores, prior = Known(), Known()
        scaled: Mapping[int, float] | None = None
        waiting: list[int] = []
        async with aclosing(together(self._parts, ask, candidates)) as steps:
            async for number, step in steps:
                (scores, prior)[number].note(step)
                yield Progress(usage=step.usage)
                if number == 0:
                    waiting += (*step.found, *step.unscored)
                elif prior.count == len(candidates):
                    scaled = scaled_to_one(prior.values)
                if scaled is not None and waiting:
                    for progress in self._blended(waiting, scores, prior, scaled):
                        yield progress
                    waiting.clear()

    def _blended(
        self, positions: Sequence[int], scores: Known, prior: Known, scaled: Mapping[int, float]
    ) -> Sequence[Progress]:
        values: dict[int, float] = {}
        sources: dict[int, Source] = {}
        unscored: dict[int, Unscored] = {}
        for p in positions:
            failed = scores.unscored.get(p) or _failure(prior.unscored.get(p))
            if failed is not None:
                unscored[p] = failed
                continue
            share = self._weight if p in scaled else 0.0
            values[p] = rounded((1 - share) * scores.values[p] + share * scaled.get(p, 0.0))
            sources[p] = dearest([scores.sources[p], prior.sources.get(p, Source.CACHE)])
        return [Progress(unscored=unscored), *by_source(values, sources)]


def _failure(unscored: Unscored | None) -> Unscored | None:
    """Give what keeps a prior from having an opinion, other than that it has none."""
    return None if unscored is None or unscored.reason is Reason.REFUSED else unscored
