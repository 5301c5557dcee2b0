"""Requests for pairs, and a scorer at a gate, for tests of what is bought how often."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from rerankd_server.caching.cached import Cached
from rerankd_server.caching.room import Room
from rerankd_server.caching.store import Store
from rerankd_server.errors import ProviderUnavailableError
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Identity,
    Progress,
    Reason,
    Score,
    Scorer,
    Source,
    Unscored,
    Usage,
)

ASK = Ask("q")
PLACES = 200
DOWN = Unscored(Reason.FAILED, ProviderUnavailableError("down", 1.0))


class GatedScorer(Scorer):
    """Asks about all candidates together; each waits at a gate of its own for its outcome."""

    def __init__(self) -> None:
        self.identity: Identity = {"kind": "gated"}
        self.sent: list[str] = []
        self.outcomes: dict[str, Score | Unscored | Exception] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._news = asyncio.Event()
        self.limit = 1000
        self.gives_up_on: set[str] = set()
        """Texts that fail the next time, before anything is sent."""

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        done: asyncio.Queue[tuple[int, Score | Unscored | Exception | None]] = asyncio.Queue()
        slots = asyncio.Semaphore(self.limit)

        async def ask_about(position: int, candidate: Candidate) -> None:
            async with slots:
                if candidate.text in self.gives_up_on:
                    self.gives_up_on.discard(candidate.text)
                    done.put_nowait((position, DOWN))
                    return
                if not candidate.claim():
                    done.put_nowait((position, None))
                    return
                self.sent.append(candidate.text)
                self._tell()
                await self.gate(candidate.text).wait()
            outcome = self.outcomes.get(candidate.text, Score(0.5))
            done.put_nowait((position, outcome))

        tasks = [asyncio.create_task(ask_about(*each)) for each in enumerate(candidates)]
        try:
            for _ in candidates:
                position, outcome = await done.get()
                if isinstance(outcome, Exception):
                    raise outcome
                if isinstance(outcome, Score):
                    yield Progress({position: outcome}, usage=Usage(scored_pairs=1, model_calls=1))
                elif outcome is not None:
                    used = Usage(unscored_pairs=1, model_calls=1)
                    yield Progress(unscored={position: outcome}, usage=used)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def gate(self, text: str) -> asyncio.Event:
        return self._gates.setdefault(text, asyncio.Event())

    def _tell(self) -> None:
        self._news.set()

    async def until_sent(self, count: int) -> None:
        while len(self.sent) < count:
            self._news.clear()
            await self._news.wait()

    def answer(self, *texts: str) -> None:
        for text in texts:
            self.gate(text).set()


@dataclass
class Parts:
    scorer: GatedScorer
    cached: Cached
    store: Store
    room: Room

    def call(self, *texts: str, mode: CacheMode = CacheMode.READ_WRITE) -> "Call":
        return Call(self.cached, texts, Ask("q", cache_mode=mode))

    async def rest(self) -> None:
        """Wait until nothing is on its way; nothing may be left behind then."""
        await self.cached.drain()
        assert not self.cached._flights._in_flight
        assert not self.cached._flights._purchases
        assert self.room.taken == 0


class Call:
    """A request that runs; `result` waits for its outcomes."""

    def __init__(self, cached: Cached, texts: Sequence[str], ask: Ask = ASK) -> None:
        ask = replace(ask, caller=self)
        self.texts = texts
        self.found: dict[int, Score | Unscored] = {}
        self.sources: Counter[Source] = Counter()
        self.usage = Usage()
        self.task = asyncio.create_task(self._run(cached, ask))

    async def _run(self, cached: Cached, ask: Ask) -> None:
        candidates = [Candidate(text) for text in self.texts]
        async with aclosing(cached.score(ask, candidates)) as steps:
            async for step in steps:
                both: Mapping[int, Score | Unscored] = {**step.found, **step.unscored}
                assert not self.found.keys() & both.keys()
                self.found.update(both)
                self.sources[step.source] += len(step.found)
                self.usage += step.usage

    async def result(self) -> dict[int, Score | Unscored]:
        await self.task
        assert self.found.keys() == set(range(len(self.texts)))
        return self.found

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
