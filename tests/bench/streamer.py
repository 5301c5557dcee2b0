"""Makes calls when they are due, whatever becomes of others: `python -m bench.streamer`.

For each line that it reads, a `Stream` as JSON, it prints a line, `Streamed`, when all calls have
ended.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import grpc
from bench.figures import p99
from bench.processes import Child
from bench.wire import METHOD, Requests, Shape, query_of
from rerankd.v1 import rerank_pb2 as pb
from support.options import UNLIMITED


@dataclass(frozen=True, slots=True)
class Stream:
    """Calls about numbered queries, each at its time, with the documents in another order each."""

    address: str
    shape: Shape
    name: str
    calls: Sequence[tuple[float, int]]
    """When, in seconds from the start, and which query."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of it."""

    times: Sequence[float]
    """Milliseconds of each call."""
    hits: Sequence[int]
    """1 for a call that the cache alone answered, else 0."""
    late: float
    """Milliseconds that calls began late: no more than this, but for one in a hundred."""


async def stream(streamer: Child, job: Stream) -> Streamed:
    return Streamed(**json.loads(await streamer.ask(json.dumps(asdict(job)))))


async def _run(job: Stream) -> Streamed:
    chance = Random(job.seed)
    written = Requests(job.shape)
    requests = [next(written.shuffled(query_of(job.name, n), chance)) for _, n in job.calls]
    times = [0.0] * len(requests)
    replies = [b""] * len(requests)
    late: list[float] = []
    async with grpc.aio.insecure_channel(job.address, options=UNLIMITED) as channel:
        call: Any = channel.unary_unary(METHOD)
        await channel.channel_ready()
        start = time.perf_counter() + 0.1

        async def make(place: int, due: float) -> None:
            started = time.perf_counter()
            late.append(started - due)
            replies[place] = await call(requests[place])
            times[place] = time.perf_counter() - started

        async with asyncio.TaskGroup() as calls:
            for place, (at, _) in enumerate(job.calls):
                due = start + at
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                calls.create_task(make(place, due))
    return Streamed(
        [round(each * 1000, 3) for each in times],
        [int(_is_hit(reply, job.shape.documents)) for reply in replies],
        p99(late) * 1000,
    )


def _is_hit(reply: bytes, documents: int) -> bool:
    ranking = pb.RerankResponse.FromString(reply)
    assert all(result.HasField("relevance_score") for result in ranking.results)
    return ranking.usage.cached_pairs == documents


def main() -> None:
    for line in sys.stdin:
        said = json.loads(line)
        job = Stream(**{**said, "shape": Shape(**said["shape"])})
        print(json.dumps(asdict(asyncio.run(_run(job)))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
