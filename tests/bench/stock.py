"""Fills a data folder with scores that a server will find there, without asking any model."""

import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Self

from rerankd_server.caching.memory import Memory
from rerankd_server.caching.store import Store
from rerankd_server.config import Settings
from rerankd_server.menu import Menu
from rerankd_server.scoring.scorer import (
    LABELS,
    Ask,
    CacheMode,
    Documents,
    Finding,
    Judgement,
    rounded,
)

BASE_URL = "http://127.0.0.1:9/v1"
"""A provider that nobody has to ask, as its scores are there: it is part of the keys."""
SIZE_LIMIT = 16 << 30
_AT_ONCE = 10_000
_DIFFERENT = 1000


async def stock(folder: Path, queries: Iterable[tuple[str, Sequence[str]]], url: str) -> None:
    """Store a score for each document of each query, under the keys of a server that asks `url`."""
    scores = made_up(Random(7))
    async with opened(folder) as store, _Keys(folder, url) as keys:
        batch: dict[bytes, Finding] = {}
        for query, texts in queries:
            for key in await keys.of(query, texts):
                batch[key] = scores[len(batch) % _DIFFERENT]
            if len(batch) >= _AT_ONCE:
                await store.write(batch)
                batch = {}
        await store.write(batch)


async def is_stocked(folder: Path, query: str, texts: Sequence[str], url: str) -> bool:
    """Whether all scores of a query are there."""
    async with opened(folder) as store, _Keys(folder, url) as keys:
        of_query = await keys.of(query, texts)
        return len(await store.read(of_query)) == len(of_query)


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Store]:
    """Open the store in a data folder, with room for all that a benchmark needs."""
    store = Store(folder, SIZE_LIMIT)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def made_up(chance: Random) -> Sequence[Judgement]:
    """Give scores as gpt-4o-mini's are: a few labels, one of them likely."""
    return [_score(chance) for _ in range(_DIFFERENT)]


def _score(chance: Random) -> Judgement:
    likely = chance.choice(LABELS)
    near = {n for n in (likely - 1, likely, likely + 1, likely + 2) if n in LABELS}
    weights = {n: chance.random() * (5 if n == likely else 1) for n in near}
    total = sum(weights.values())
    labels = [weights.get(n, 0.0) / total for n in LABELS]
    expected = sum(n * p for n, p in zip(LABELS, labels, strict=True)) / LABELS[-1]
    return Judgement(
        rounded(expected),
        prompt_tokens=chance.randrange(150, 250),
        completion_tokens=1,
        scored_at=int(time.time()),
        labels=labels,
        model="gpt-4o-mini-2024-07-18",
    )


class _Keys(Memory):
    """Tells under which keys a server looks: it asks the server's own scorer, and listens.

    It stands where the scorer's memory would, and has nothing.
    """

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(Store(folder, SIZE_LIMIT), 0)
        self._menu = Menu(Settings(data_dir=folder, base_url=url), self)
        self._scorer = self._menu.models[0].scorer
        self._asked: list[bytes] = []

    async def of(self, query: str, texts: Sequence[str]) -> Sequence[bytes]:
        self._asked = []
        ask = Ask(query, cache_mode=CacheMode.ONLY_IF_CACHED)
        async for _ in self._scorer.score(ask, Documents(texts)):
            pass
        return self._asked

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        self._asked += keys
        return {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._menu.close()
