"""REFRESH wins: whatever races, in the end all processes and the disk say the same, nothing old.

The model's score of a document is the model's generation, which grows in the middle of it all. Each
call is judged when it comes, and answered when its turn comes, in any order.
"""

import asyncio
import os
import random
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rerankd.v1 import rerank_pb2 as pb
from support.process import rerankd, serving
from support.provider import Call, FakeProvider, completion
from support.server import Stub, ask
from support.workers import callers

PAIRS = [(f"q{q}", f"document {d}") for q in range(2) for d in range(3)]
STEPS = int(os.environ.get("RERANKD_RACES", "120"))
GENERATIONS = 10
MODES = [
    *4 * [pb.CACHE_MODE_UNSPECIFIED],
    *3 * [pb.CACHE_MODE_REFRESH],
    pb.CACHE_MODE_BYPASS,
    pb.CACHE_MODE_ONLY_IF_CACHED,
]
OWN = (pb.CACHE_MODE_REFRESH, pb.CACHE_MODE_BYPASS)


class Race:
    """Calls that race, and what each of them may get."""

    def __init__(self, stubs: list[Stub], folder: Path, seed: int) -> None:
        self.generation = 0
        self.faults: list[str] = []
        self.random = random.Random(seed)
        self._stubs = stubs
        self._folder = folder
        self._unanswered: list[asyncio.Event] = []
        self._floors = dict.fromkeys(PAIRS, 0)
        """The oldest generation that may be read: that of the last REFRESH that has returned."""

    async def judge(self, call: Call) -> web.StreamResponse:
        label, turn = str(self.generation), asyncio.Event()
        self._unanswered.append(turn)
        await turn.wait()
        return completion(label)

    def answer_one(self) -> None:
        if self._unanswered:
            self._unanswered.pop(self.random.randrange(len(self._unanswered))).set()

    async def call(self) -> None:
        mode = self.random.choice(MODES)
        query = self.random.choice(PAIRS)[0]
        mine = [pair for pair in PAIRS if pair[0] == query and self.random.random() < 0.6]
        if not mine:
            return
        began = self.generation
        floors = {pair: began if mode in OWN else self._floors[pair] for pair in mine}
        request = ask(query, [text for _, text in mine], cache_mode=mode)
        answer = await self.random.choice(self._stubs).RerankOnce(request, timeout=120)
        for result in answer.results:
            pair = mine[result.index]
            if not result.HasField("relevance_score"):
                assert mode == pb.CACHE_MODE_ONLY_IF_CACHED
                continue
            got = round(result.relevance_score * 10)
            if got < floors[pair]:
                self.faults.append(f"{pb.CacheMode.Name(mode)} {pair}: {got} < {floors[pair]}")
        if mode == pb.CACHE_MODE_REFRESH:
            self._raise(mine, began)

    async def purge(self) -> None:
        began = self.generation
        status, _, error = await rerankd("purge", "--yes", f"--data-dir={self._folder}")
        assert status == 0, error
        self._raise(PAIRS, began)

    def _raise(self, pairs: list[tuple[str, str]], generation: int) -> None:
        for pair in pairs:
            self._floors[pair] = max(self._floors[pair], generation)

    async def run(self) -> None:
        racing: set[asyncio.Task[None]] = set()
        purging = self.random.randrange(STEPS // 4, STEPS // 2)
        for step in range(STEPS):
            self.generation = step * (GENERATIONS + 1) // STEPS
            if self.random.random() < 0.6:
                racing.add(asyncio.create_task(self.call()))
            if step == purging:
                racing.add(asyncio.create_task(self.purge()))
            for _ in range(self.random.choice([0, 0, 1, 1, 2, 3])):
                self.answer_one()
            # What is under way elsewhere goes on.
            await asyncio.wait({*racing, asyncio.create_task(asyncio.sleep(0.005))}, timeout=0.01)
        await self._finish(racing)

    async def buy_what_was_purged(self) -> None:
        """Have something stored of each pair: the purge may have come late."""
        stub = self._stubs[0]
        calls = [stub.RerankOnce(ask(query, [text])) for query, text in PAIRS]
        await self._finish({asyncio.ensure_future(call) for call in calls})

    async def _finish(self, calls: Collection[asyncio.Future[Any]]) -> None:
        while unfinished := [call for call in calls if not call.done()]:
            self.answer_one()
            await asyncio.wait(unfinished, timeout=0.002)
        await asyncio.gather(*calls)

    async def at_rest(self, stub: Stub) -> dict[tuple[str, str], int | None]:
        """What is read by now."""
        found: dict[tuple[str, str], int | None] = {}
        for query, text in PAIRS:
            request = ask(query, [text], cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
            (result,) = (await stub.RerankOnce(request)).results
            has_score = result.HasField("relevance_score")
            found[query, text] = round(result.relevance_score * 10) if has_score else None
        for pair, got in found.items():
            if got is not None and got < self._floors[pair]:
                self.faults.append(f"at rest {pair}: {got} < {self._floors[pair]}")
        return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("servers", "flags"), [(1, []), (1, ["--workers=2"]), (2, [])])
async def test_whatever_races_all_say_the_same_in_the_end(
    provider: FakeProvider, tmp_path: Path, servers: int, flags: list[str], seed: int
) -> None:
    url = provider.base_url
    async with AsyncExitStack() as stack:
        stubs: list[Stub] = []
        for _ in range(servers):
            running = serving(tmp_path, *flags, OPENAI_BASE_URL=url)
            _, address = await stack.enter_async_context(running)
            stubs += await stack.enter_async_context(callers(address, 6))
        race = Race(stubs, tmp_path, seed)
        provider.answer = race.judge
        await race.run()
        await race.buy_what_was_purged()
        disk_alone = serving(tmp_path, "--memory-size=0", "--recent-size=0", OPENAI_BASE_URL=url)
        _, address = await stack.enter_async_context(disk_alone)
        (reader,) = await stack.enter_async_context(callers(address, 1))
        stored = await race.at_rest(reader)
        for stub in stubs:
            assert await race.at_rest(stub) == stored
        assert race.faults == []
        assert None not in stored.values()
