"""Deadlines far shorter than the model takes: what callers get, and what becomes of what was sent.

Five callers make forty calls each, one after the other.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

import grpc
from bench.processes import model, server
from bench.row import Row
from bench.texts import texts
from rerankd.v1 import rerank_pb2 as pb
from support.server import Stub, ask

_CALLERS, _CALLS_EACH = 5, 40
_DEADLINE, _LATENCY = 0.1, 2.0
_CACHED, _NEW = 10, 10


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one call."""

    seconds: float
    good: bool
    """Whether it was OK, with all that was cached ranked."""


async def deadline(folder: Path, progress: Progress) -> Sequence[Row]:
    """Fill half of each request into the cache, then ask for all of it in too little time."""
    calls = range(_CALLERS * _CALLS_EACH)
    async with (
        model(latency=0) as provider,
        server(folder, provider.base_url) as (stub, _),
    ):
        fill = (ask(f"query {n}", _documents(n)[:_CACHED], require_complete=True) for n in calls)
        await asyncio.gather(*(stub.RerankOnce(request) for request in fill))
        await provider.take(_LATENCY)
        filled = (await provider.counts())["arrived"]

        callers = [calls[n::_CALLERS] for n in range(_CALLERS)]
        done = await asyncio.gather(*(_ask_all(stub, mine) for mine in callers))
        sent = (await provider.counts())["arrived"] - filled
        await asyncio.sleep(1)
        since = (await provider.counts())["arrived"] - filled - sent
        await asyncio.sleep(_LATENCY)
        stored = await _count_stored(stub, calls) - filled
    return [
        _in_time([answer for each in done for answer in each]),
        Row(
            "a second after the last of them",
            "nothing more is sent",
            f"{sent} sent until then, {since} since",
            since == 0,
        ),
        Row(
            "what was sent, when the model has answered",
            "all of it stored",
            f"{stored} of {sent + since}",
            stored == sent + since,
        ),
    ]


async def _ask_all(stub: Stub, calls: Sequence[int]) -> list[_Answer]:
    return [await _ask(stub, ask(f"query {n}", _documents(n))) for n in calls]


async def _ask(stub: Stub, request: pb.RerankRequest) -> _Answer:
    started = time.perf_counter()
    try:
        response = await stub.RerankOnce(request, timeout=_DEADLINE)
    except grpc.aio.AioRpcError:
        return _Answer(time.perf_counter() - started, good=False)
    seconds = time.perf_counter() - started
    first = {
        result.index
        for result in response.results[:_CACHED]
        if result.HasField("relevance_score") and result.source == pb.SCORE_SOURCE_CACHE
    }
    return _Answer(seconds, first == set(range(_CACHED)))


def _in_time(answers: Sequence[_Answer]) -> Row:
    good = sum(answer.good for answer in answers)
    percents = statistics.quantiles((answer.seconds * 1000 for answer in answers), n=100)
    return Row(
        f"{len(answers)} calls of {_DEADLINE * 1000:.0f} ms, half cached, the model takes 2 s",
        "all OK in time, all that is cached ranked",
        f"{good} of {len(answers)}; p50 {percents[49]:.1f} ms, p99 {percents[98]:.1f} ms",
        good == len(answers),
    )


async def _count_stored(stub: Stub, calls: Sequence[int]) -> int:
    stored = 0
    for n in calls:
        request = ask(f"query {n}", _documents(n), cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
        stored += (await stub.RerankOnce(request)).usage.cached_pairs
    return stored


def _documents(call: int) -> Sequence[str]:
    """Give one request's documents, those that will be cached first."""
    return texts(f"of {call}", _CACHED + _NEW)
