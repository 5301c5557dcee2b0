"""A cascade: a cheap scorer for all candidates, a careful one for those that look promising.

Both are on one scale: a careful score of 0 to 1 becomes 0.1 to 1, a cheap one 0 to 0.1. So whatever
the careful one has judged stands above what was not worth its while, no score depends on the other
candidates (but for who is among the top k), and order within each part is that part's.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from rerankd_server.scoring.parts import Known, by_source
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Reason,
    Score,
    Scorer,
    Unscored,
    rounded,
)

_log = structlog.get_logger()

_FLOOR = 0.1
"""The least score of what was judged with care."""


class Cascade(Scorer):
    """Asks `cheap` about all, then `careful` about the promising.

    Promising is a cheap score of at least `threshold`, or the `top_k` best, where equal ones count
    in the request's order; exactly one of the two is given. What stands in for a cheap score counts
    as one; a candidate with neither is not asked about with care. Until a careful score is known
    the cheap one stands in for it, and for good where the careful one gives none.

    Where the cheap one fails, nothing says who is promising: the careful one is asked about as many
    as it may be, in the request's order, and the log says so.
    """

    def __init__(
        self,
        cheap: Scorer,
        careful: Scorer,
        threshold: float | None = None,
        top_k: int | None = None,
    ) -> None:
        self._cheap = cheap
        self._careful = careful
        self._threshold = threshold
        self._top_k = top_k

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score all candidates, cheaply at first; see `Scorer.score`."""
        known = Known()
        async with aclosing(self._cheap.score(ask, candidates)) as steps:
            async for step in steps:
                known.note(step)
                cheap = {**step.interim, **step.found}
                interim = {p: Score(_low(score.value)) for p, score in cheap.items()}
                yield replace(step, found={}, unscored={}, interim=interim)
        promising = self._promising({**known.interim, **known.values}, known.unscored)
        yield Progress(unscored={p: why for p, why in known.unscored.items() if p not in promising})
        rest = {p: _low(value) for p, value in known.values.items() if p not in promising}
        for progress in by_source(rest, {}, known.sources):
            yield progress
        places = sorted(promising)
        if not places:
            return
        chosen = [candidates[p] for p in places]
        async with aclosing(self._careful.score(ask, chosen)) as steps:
            async for step in steps:
                yield replace(
                    step,
                    found=_raised(step.found, places),
                    unscored={places[i]: why for i, why in step.unscored.items()},
                    interim=_raised(step.interim, places),
                )

    def _promising(
        self, cheap: Mapping[int, float], unscored: Mapping[int, Unscored]
    ) -> Collection[int]:
        """Return whom to ask about with care, by `cheap` scores and why others are `unscored`."""
        errors = {p: why.error for p, why in unscored.items() if why.reason is Reason.FAILED}
        failed = sorted(errors.keys() - cheap.keys())
        if failed:
            _log.warning(
                "a cascade goes on without its cheap part",
                failed=len(failed),
                error=str(errors[failed[0]]),
            )
        if self._threshold is not None:
            return {*failed, *(p for p, value in cheap.items() if value >= self._threshold)}
        best = sorted(cheap, key=lambda p: (-cheap[p], p))
        return set([*best, *failed][: self._top_k])


def _low(value: float) -> float:
    """Give the place of a cheap score on the common scale."""
    return rounded(_FLOOR * value)


def _raised(scores: Mapping[int, Score], places: Sequence[int]) -> Mapping[int, Score]:
    return {
        places[i]: Score(rounded(_FLOOR + (1 - _FLOOR) * score.value))
        for i, score in scores.items()
    }
