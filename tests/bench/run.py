"""Runs parts of a stream of calls at a server: see `bench.mixed`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Self

from bench.figures import Spread, p99
from bench.processes import Child, cpu_seconds
from bench.streamer import Stream, Streamed, stream
from bench.wire import Shape

SHAPE = Shape(20, 750)
NAME = "mixed"
_BUSY = 0.4
"""The share of a processor that the server is to use."""

Calls = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Times:
    """What hits took, in milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Self:
        return cls(median(times), p99(times))


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was measured, in several parts of the stream."""

    calls_per_second: float
    hit_ratio: float
    busy: float
    """The share of a processor that the server used beside misses."""
    late: float
    """Milliseconds that calls began late: no more than this, but for one in a hundred."""
    alone: Sequence[Times]
    """Of hits without misses: of each part, and of the last one once more."""
    beside: Sequence[Times]
    """Of the same hits beside misses: of each part."""
    p50_ratio: Spread
    p99_ratio: Spread


@dataclass
class Run:
    """A server, who calls it, and what came of it; `known` are the queries that are stocked."""

    streamer: Child
    address: str
    pid: int
    known: set[int]
    last: Calls = ()
    streamed: list[Streamed] = field(default_factory=list)
    alone: list[Times] = field(default_factory=list)
    beside: list[Times] = field(default_factory=list)
    cpu: float = 0.0
    seconds: float = 0.0

    async def part(self, calls: Calls) -> None:
        """Make the hits among `calls` alone, then all."""
        self.last = [call for call in calls if call[1] in self.known]
        await self.alone_again()
        before = cpu_seconds(self.pid)
        streamed = await self._stream(calls)
        self.cpu += cpu_seconds(self.pid) - before
        self.seconds += calls[-1][0]
        self.streamed.append(streamed)
        timed = zip(calls, streamed.times, strict=True)
        self.beside.append(Times.of([time for (_, query), time in timed if query in self.known]))

    async def alone_again(self) -> None:
        """Make the last part's hits alone."""
        streamed = await self._stream(self.last)
        assert all(streamed.hits)
        self.alone.append(Times.of(streamed.times))

    def found(self, rate: float) -> Mixed:
        hits = [hit for streamed in self.streamed for hit in streamed.hits]
        around = list(zip(self.beside, self.alone, self.alone[1:], strict=False))
        return Mixed(
            calls_per_second=rate,
            hit_ratio=sum(hits) / len(hits),
            busy=self.cpu / self.seconds,
            late=max(streamed.late for streamed in self.streamed),
            alone=self.alone,
            beside=self.beside,
            p50_ratio=Spread.of([2 * b.p50 / (one.p50 + two.p50) for b, one, two in around]),
            p99_ratio=Spread.of([2 * b.p99 / (one.p99 + two.p99) for b, one, two in around]),
        )

    async def rate(self, coming: Sequence[int]) -> float:
        """Read what is stored into memory, and give the calls a second that keep it busy enough."""
        hits = sorted(self.known.intersection(coming))
        await self._cost([(n * 0.004, query) for n, query in enumerate(hits)])
        hit = await self._cost([(n * 0.004, query) for n, query in enumerate(hits)])
        miss = await self._cost([(n * 0.1, n) for n in range(40)], "never asked before")
        misses = len(set(coming) - self.known) / len(coming)
        return _BUSY / ((1 - misses) * hit + misses * miss)

    async def _cost(self, calls: Calls, name: str = NAME) -> float:
        """Give the server's processor time of a call."""
        before = cpu_seconds(self.pid)
        await self._stream(calls, name)
        return (cpu_seconds(self.pid) - before) / len(calls)

    async def _stream(self, calls: Calls, name: str = NAME) -> Streamed:
        return await stream(self.streamer, Stream(self.address, SHAPE, name, calls))
