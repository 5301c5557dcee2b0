"""A blend: a scorer's score, moved a little towards a second opinion.

A convex combination with a prior that is min-max scaled within the request (Bruch et al., "An
Analysis of Fusion Functions for Hybrid Retrieval", 2023): (1 - weight) * score + weight * prior.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from rerankd_server.scoring.parts import (
    Known,
    by_source,
    dearest,
    together,
)
from rerankd_server.scoring.prior import scaled_to_one
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Reason,
    Scorer,
    Source,
    Unscored,
    rounded,
)


class Blend(Scorer):
    """Blends `scores` with `prior`, whose `weight` is from 0 to 1.

    A prior that has no opinion of a candidate (REFUSED), or the same of all, leaves it the score
    that it has: no opinion is not a 0. Where the prior fails for some, it counts for none, for a
    ranking half with and half without would be neither: the plain scores stand in, and the failure
    is said beside them. What `scores` has stand in is blended too.
    """

    def __init__(self, scores: Scorer, prior: Scorer, weight: float) -> None:
        self._parts = (scores, prior)
        self._weight = weight

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score each candidate, once the prior of all is known; see `Scorer.score`."""
        scores, prior = Known(), Known()
        scaled: Mapping[int, float] | None = None
        lost: Unscored | None = None
        open_ = set(range(len(candidates)))
        waiting: set[int] = set()
        async with aclosing(together(self._parts, ask, candidates)) as steps:
            async for number, step in steps:
                (scores, prior)[number].note(step)
                yield Progress(usage=step.usage)
                if number == 0:
                    waiting.update(step.found, step.unscored, step.interim)
                elif scaled is None and prior.count == len(candidates):
                    lost = next((u for u in prior.unscored.values() if _is_failure(u)), None)
                    scaled = {} if lost else scaled_to_one(prior.values)
                if scaled is not None:
                    for progress in self._blended(waiting, open_, scores, prior, scaled, lost):
                        yield progress
                    waiting.clear()

    def _blended(
        self,
        positions: Iterable[int],
        open_: set[int],
        scores: Known,
        prior: Known,
        scaled: Mapping[int, float],
        lost: Unscored | None,
    ) -> Iterator[Progress]:
        """Yield what is known by now of `positions`; those that end are open no more.

        `lost` is why there is no prior at all.
        """
        blended: dict[int, float] = {}
        unscored: dict[int, Unscored] = {}
        for p in positions:
            failed = lost or _missing(prior.unscored.get(p))
            standing = scores.standing(p)
            if (failed is None or lost) and standing is not None:
                share = self._weight if p in scaled else 0.0
                blended[p] = rounded((1 - share) * standing + share * scaled.get(p, 0.0))
            if p in open_ and (why := scores.unscored.get(p) or (p in scores.values and failed)):
                unscored[p] = why
        found = {} if lost else {p: v for p, v in blended.items() if p in scores.values}
        interim = {p: value for p, value in blended.items() if p not in found}
        open_.difference_update(found, unscored)
        yield Progress(unscored=unscored)
        sources = {
            p: scores.sources[p]
            if lost
            else dearest([scores.sources[p], prior.sources.get(p, Source.CACHE)])
            for p in blended
        }
        yield from by_source(found, interim, sources)


def _is_failure(unscored: Unscored) -> bool:
    return unscored.reason is Reason.FAILED


def _missing(unscored: Unscored | None) -> Unscored | None:
    """Return what keeps a prior from having an opinion, other than that it has none."""
    return None if unscored is None or unscored.reason is Reason.REFUSED else unscored
