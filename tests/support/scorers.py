"""A scorer that does as a test tells it, for tests of what stands around scorers."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Identity,
    Progress,
    Score,
    Scorer,
    Unscored,
    Usage,
)

Outcome = Score | Unscored


def number_in(text: str) -> Outcome:
    """The number that the text begins with, as a score."""
    return Score(float(text.split(maxsplit=1)[0]))


class FakeScorer(Scorer):
    """Yields `outcome(text)` for each candidate, one at a time; `asked` are the texts it was given.

    Where `gate` is closed, it waits there before each candidate.
    """

    def __init__(self, outcome: Callable[[str], Outcome] = number_in) -> None:
        self.identity: Identity = {"kind": "fake"}
        self.outcome = outcome
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        for position, candidate in enumerate(candidates):
            if not candidate.claim():
                continue
            self.asked.append(candidate.text)
            self.waiting.set()
            await self.gate.wait()
            outcome = self.outcome(candidate.text)
            if isinstance(outcome, Score):
                yield Progress({position: outcome}, usage=Usage(scored_pairs=1, model_calls=1))
            else:
                usage = Usage(unscored_pairs=1, model_calls=1)
                yield Progress(unscored={position: outcome}, usage=usage)
