"""Makes calls and times them, in a process of its own: `python -m bench.caller`.

For each line that it reads, a `Job` as JSON, it prints a line of what it measured. It sends and
receives bytes: while the clock runs it neither writes nor parses a message.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from random import Random
from typing import Any, cast

import grpc
from bench import cohere
from bench.jobs import Job, Target, Together
from bench.processes import cpu_seconds
from bench.wire import METHOD, Requests
from support.options import UNLIMITED


@dataclass
class _Turns:
    """One target's part in a job of turns."""

    call: Callable[[bytes], bytes]
    requests: Sequence[bytes]
    times: list[float] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)

    def take(self, turn: int) -> None:
        started = time.perf_counter()
        reply = self.call(self.requests[turn])
        self.times.append(time.perf_counter() - started)
        self.replies.append(reply)


class _Caller:
    """Keeps its connections from job to job."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[bytes], bytes]] = {}

    def take_turns(self, job: Job) -> Mapping[str, Sequence[float]]:
        chance = Random(job.seed)
        written = Requests(job.shape)
        parts = {
            target.name: _Turns(
                self._call(target),
                list(islice(target.requests(written, chance), job.calls)),
            )
            for target in job.targets
        }
        with _undisturbed():
            for turn in range(job.calls):
                for part in chance.sample(list(parts.values()), len(parts)):
                    part.take(turn)
        for target in job.targets:
            target.check(parts[target.name].replies, job.shape.documents)
        return {name: [round(t * 1000, 4) for t in part.times] for name, part in parts.items()}

    def _call(self, target: Target) -> Callable[[bytes], bytes]:
        address = target.address
        if address not in self._calls:
            if target.asks == "json":
                self._calls[address] = cohere.blocking_call(address)
            else:
                channel = grpc.insecure_channel(address, options=UNLIMITED)
                self._calls[address] = cast("Any", channel.unary_unary(METHOD))
        return self._calls[address]


@asynccontextmanager
async def _connected(target: Target) -> AsyncGenerator[Callable[[bytes], Awaitable[bytes]]]:
    if target.asks == "json":
        async with cohere.connected(target.address) as call:
            yield call
    else:
        async with grpc.aio.insecure_channel(target.address, options=UNLIMITED) as channel:
            await channel.channel_ready()
            yield cast("Any", channel.unary_unary(METHOD))


async def _call_together(job: Job) -> Together:
    (target,) = job.targets
    requests = list(islice(target.requests(Requests(job.shape), Random(job.seed)), job.calls))
    left = iter(requests)
    replies: list[bytes] = []
    async with _connected(target) as call:

        async def work() -> None:
            for request in left:
                replies.append(await call(request))  # noqa: PERF401

        with _undisturbed():
            cpu, own = cpu_seconds(target.pid), time.process_time()
            started = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(job.callers)))
            seconds = time.perf_counter() - started
            cpu, own = cpu_seconds(target.pid) - cpu, time.process_time() - own
    target.check(replies, job.shape.documents)
    return Together(len(requests), seconds, cpu, own)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the garbage collector out."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main() -> None:
    caller = _Caller()
    for line in sys.stdin:
        job = Job.read(line)
        done: Any = (
            caller.take_turns(job) if job.callers == 1 else asdict(asyncio.run(_call_together(job)))
        )
        print(json.dumps(done), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
