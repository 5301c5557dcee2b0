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
        self.unscored: dict[int, Unscored] = {}
        self.interim: dict[int, float] = {}
        """What stands in for values that are not known, or never will be."""
        self.sources: dict[int, Source] = {}
        """Of values, and of what stands in for them."""

    def note(self, progress: Progress) -> None:
        """Take in outcomes."""
        self.interim.update({p: score.value for p, score in progress.interim.items()})
        self.values.update({p: score.value for p, score in progress.found.items()})
        self.unscored.update(progress.unscored)
        self.sources.update(dict.fromkeys((*progress.interim, *progress.found), progress.source))

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


def by_source(
    found: Mapping[int, float], interim: Mapping[int, float], sources: Mapping[int, Source]
) -> Iterable[Progress]:
    """Give scores, and what stands in for others, from 0 to 1; those of one source together."""
    for source in Source:
        one = {p: Score(value) for p, value in found.items() if sources[p] is source}
        other = {p: Score(value) for p, value in interim.items() if sources[p] is source}
        if one or other:
            yield Progress(one, source=source, interim=other)


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
