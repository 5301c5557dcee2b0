"""What combinations of scorers share: what their parts said, and asking several at a time."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing

from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Score,
    Scorer,
    Source,
    Unscored,
)

_DEAREST = (Source.MODEL, Source.SHARED, Source.CACHE)


class Known:
    """What one part has said so far."""

    def __init__(self) -> None:
        self.values: dict[int, float] = {}
        self.sources: dict[int, Source] = {}
        self.unscored: dict[int, Unscored] = {}
        self.interim: dict[int, float] = {}
        """What stands in for values that are not known, or never will be."""

    def note(self, progress: Progress) -> None:
        """Take in outcomes."""
        for position, score in progress.found.items():
            self.values[position] = score.value
            self.sources[position] = progress.source
        self.unscored.update(progress.unscored)
        self.interim.update({p: score.value for p, score in progress.interim.items()})

    def standing(self, position: int) -> float | None:
        """Give a candidate's value, or what stands in for it, or None."""
        return self.values.get(position, self.interim.get(position))

    @property
    def count(self) -> int:
        """How many candidates' outcomes are known."""
        return len(self.values) + len(self.unscored)


def dearest(sources: Iterable[Source]) -> Source:
    """Give the source of what was made from scores of several: the one that cost most."""
    return min(sources, key=_DEAREST.index)


def by_source(values: Mapping[int, float], sources: Mapping[int, Source]) -> Iterable[Progress]:
    """Give outcomes, of one source each, for `values` from 0 to 1 that are made of others."""
    for source in Source:
        found = {p: Score(value) for p, value in values.items() if sources[p] is source}
        if found:
            yield Progress(found, source=source)


async def together(
    parts: Sequence[Scorer], ask: Ask, candidates: Sequence[Candidate]
) -> AsyncGenerator[tuple[int, Progress]]:
    """Ask all `parts` at the same time; yield what each says, with its number, as it comes."""
    said: asyncio.Queue[tuple[int, Progress] | Exception | None] = asyncio.Queue()

    async def listen(number: int, part: Scorer) -> None:
        try:
            async with aclosing(part.score(ask, candidates)) as steps:
                async for progress in steps:
                    said.put_nowait((number, progress))
        except Exception as error:  # noqa: BLE001  # raised where the parts come together
            said.put_nowait(error)
        else:
            said.put_nowait(None)

    tasks = [asyncio.create_task(listen(*each)) for each in enumerate(parts)]
    try:
        left = len(tasks)
        while left:
            word = await said.get()
            if isinstance(word, Exception):
                raise word
            if word is None:
                left -= 1
            else:
                yield word
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
