"""Hits beside misses: what calls that the cache answers take while others are being scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

from rich.progress import Progress

from bench.figures import p99, save
from bench.processes import Child, child, cpu_seconds, model, settled
from bench.row import Row
from bench.stock import stock
from bench.streamer import Stream, Streamed, stream
from bench.wire import Shape, query_of
from bench.zipf import arrivals, zipf
from support.process import serving

_SHAPE = Shape(20, 750)
_LATENCY = 0.3
_CONCURRENCY = 256
_BEFORE = 20_000
"""Calls of the stream that the server has seen already."""
_SECONDS = 30
_BUSY = 0.4
_MOST = 1.5
_NAME = "mixed"

Calls = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was measured. Times in milliseconds, of the same calls: alone, beside misses, alone."""

    calls_per_second: float
    hit_ratio: float
    busy: float
    """The share of a processor that the server used beside misses."""
    late: float
    p50: Sequence[float]
    p99: Sequence[float]

    @property
    def p50_ratio(self) -> float:
        return _ratio(self.p50)

    @property
    def p99_ratio(self) -> float:
        return _ratio(self.p99)


async def mixed(folder: Path, progress: Progress) -> Sequence[Row]:
    """Run the stream; before and after it, those of its calls alone whose scores were there."""
    chance = Random(7)
    queries = zipf(chance)
    known = set(islice(queries, _BEFORE))
    shown = progress.add_task("mixed: filling the store", total=5)
    async with model(_LATENCY) as provider, child("streamer") as streamer:
        texts = _SHAPE.texts
        stocked = ((query_of(_NAME, n), texts) for n in sorted(known))
        await stock(folder, stocked, provider.base_url)
        flags = (folder, f"--concurrency={_CONCURRENCY}")
        async with serving(*flags, OPENAI_BASE_URL=provider.base_url) as (server, address):
            await settled(server.pid)
            run = _Run(streamer, address, server.pid)
            coming = list(islice(queries, 10_000))
            progress.update(shown, description="mixed: what calls cost", advance=1)
            rate = await run.rate(known, coming)
            times = arrivals(chance, rate, _SECONDS)
            calls = list(zip(times, coming, strict=False))
            alone = [(at, query) for at, query in calls if query in known]
            progress.update(shown, description="mixed: hits alone", advance=1)
            before = await run.stream(alone)
            progress.update(shown, description="mixed: hits and misses", advance=1)
            cpu = cpu_seconds(server.pid)
            beside = await run.stream(calls)
            cpu = cpu_seconds(server.pid) - cpu
            progress.update(shown, description="mixed: hits alone", advance=1)
            after = await run.stream(alone)
    progress.remove_task(shown)
    assert all(before.hits)
    same = [time for time, (_, query) in zip(beside.times, calls, strict=True) if query in known]
    series = before.times, same, after.times
    found = Mixed(
        calls_per_second=rate,
        hit_ratio=sum(beside.hits) / len(calls),
        busy=cpu / times[-1],
        late=max(each.late for each in (before, beside, after)),
        p50=[median(each) for each in series],
        p99=[p99(each) for each in series],
    )
    save("mixed", [found])
    return _rows(found)


@dataclass
class _Run:
    """A server and who calls it."""

    streamer: Child
    address: str
    pid: int
    seed: int = 0

    async def stream(self, calls: Calls, name: str = _NAME) -> Streamed:
        self.seed += 1
        return await stream(self.streamer, Stream(self.address, _SHAPE, name, calls, self.seed))

    async def rate(self, known: set[int], coming: Sequence[int]) -> float:
        """Read what is stored into memory, and give the calls a second that keep it busy enough."""
        hits = sorted(known.intersection(coming))
        await self._cost([(n * 0.004, query) for n, query in enumerate(hits)])
        hit = await self._cost([(n * 0.004, query) for n, query in enumerate(hits)])
        miss = await self._cost([(n * 0.1, n) for n in range(40)], "never asked before")
        misses = len(set(coming) - known) / len(coming)
        return _BUSY / ((1 - misses) * hit + misses * miss)

    async def _cost(self, calls: Calls, name: str = _NAME) -> float:
        """Give the server's processor time of a call."""
        before = cpu_seconds(self.pid)
        await self.stream(calls, name)
        return (cpu_seconds(self.pid) - before) / len(calls)


def _ratio(series: Sequence[float]) -> float:
    """Give what it is beside misses, over what it is alone: the mean of before and after."""
    before, beside, after = series
    return beside / ((before + after) / 2)


def _rows(found: Mixed) -> Sequence[Row]:
    return [
        Row(
            f"{found.calls_per_second:.0f} calls a second of {_SHAPE.documents} documents, the "
            f"model takes {_LATENCY * 1000:.0f} ms",
            "",
            f"{found.hit_ratio:.1%} hits, the server {found.busy:.0%} busy; calls at most "
            f"{found.late:.1f} ms late (p99)",
        ),
        Row("p50 of hits, beside misses", "", _words(found.p50, found.p50_ratio)),
        Row(
            "p99 of hits, beside misses",
            f"at most {_MOST} x that without",
            _words(found.p99, found.p99_ratio),
            found.p99_ratio <= _MOST,
        ),
    ]


def _words(series: Sequence[float], ratio: float) -> str:
    before, beside, after = series
    return f"{ratio:.2f} x: {beside:.2f} ms; before {before:.2f} ms, after {after:.2f} ms"
