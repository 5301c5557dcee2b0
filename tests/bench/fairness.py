"""How long one document waits while thousands of another caller's are being scored."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from bench.processes import model, server
from bench.row import Row
from bench.texts import texts
from support.server import ask

_LATENCY = 0.3
_MANY, _CONCURRENCY = 5000, 32
_ROUNDS = 10
_MOST = 3


async def fairness(folder: Path, progress: Progress) -> Sequence[Row]:
    """Ask for single documents, one after the other, while a large request is under way."""
    chance = random.Random(7)
    waits: list[float] = []
    async with (
        model(_LATENCY) as provider,
        server(folder, provider.base_url, f"--concurrency={_CONCURRENCY}") as (stub, _),
    ):
        many = asyncio.ensure_future(stub.RerankOnce(ask("many", texts("many", _MANY))))
        while (await provider.counts())["answered"] < 2 * _CONCURRENCY:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for n in progress.track(range(_ROUNDS), description="fairness: single documents"):
            await asyncio.sleep(chance.uniform(0, _LATENCY))  # or each would come as a call ends
            started = time.perf_counter()
            await stub.RerankOnce(ask(f"one {n}", texts("one", 1)))
            waits.append((time.perf_counter() - started) / _LATENCY)
        assert not many.done()
        many.cancel()
    return [
        Row(
            f"one document beside {_MANY:,}, {_LATENCY * 1000:.0f} ms, {_CONCURRENCY} at once",
            f"at most {_MOST} latencies",
            f"{max(waits):.2f}, median {statistics.median(waits):.2f}",
            max(waits) <= _MOST,
        )
    ]
