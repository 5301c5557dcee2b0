"""The weighted mean of several scorers' scores."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing

from rerankd_server.scoring.parts import Known, by_source, dearest, together
from rerankd_server.scoring.scorer import Ask, Candidate, Progress, Scorer, rounded


class Mean(Scorer):
    """Averages `parts`, by `weights` above 0. A candidate has a score where all of them give one.

    Where one gives none, its reason is the mean's; what a part has stand in stands in here too.
    """

    def __init__(self, parts: Sequence[Scorer], weights: Sequence[float] = ()) -> None:
        self._parts = parts
        weights = weights or [1.0] * len(parts)
        self._weights = [weight / sum(weights) for weight in weights]

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score each candidate as soon as all parts have; see `Scorer.score`."""
        known = [Known() for _ in self._parts]
        open_ = set(range(len(candidates)))
        async with aclosing(together(self._parts, ask, candidates)) as steps:
            async for number, step in steps:
                known[number].note(step)
                news = [*step.found, *step.interim]
                done = {p for p in news if p in open_ and all(p in k.values for k in known)}
                unscored = {p: why for p, why in step.unscored.items() if p in open_}
                open_.difference_update(done, unscored)
                yield Progress(unscored=unscored, usage=step.usage)
                values = self._means(known, news)
                found = {p: values[p] for p in done}
                interim = {p: value for p, value in values.items() if p not in done}
                sources = {p: dearest(k.sources[p] for k in known) for p in values}
                for progress in by_source(found, interim, sources):
                    yield progress

    def _means(self, known: Sequence[Known], positions: Iterable[int]) -> Mapping[int, float]:
        """Average what all parts say, or have stand in; without those of which one has neither."""
        standing = {p: [k.standing(p) for k in known] for p in positions}
        return {
            p: self._mean([value for value in values if value is not None])
            for p, values in standing.items()
            if None not in values
        }

    def _mean(self, values: Sequence[float]) -> float:
        weighted = zip(self._weights, values, strict=True)
        return rounded(min(1.0, sum(weight * value for weight, value in weighted)))
