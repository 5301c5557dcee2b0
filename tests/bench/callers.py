"""Callers with a connection each, in a process of its own: `python -m bench.callers ADDRESS`.

For each line that it reads, a number of seconds, they make the same call again and again for as
long, and it prints a line of JSON, an `Answered`. It sends what was written once and reads no
reply, so that it takes as little of the machine as may be.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from bench.texts import texts
from bench.wire import METHOD
from support.options import UNLIMITED
from support.server import ask
from support.workers import OWN_CONNECTION


@dataclass(frozen=True, slots=True)
class Answered:
    """What a process of callers did."""

    calls: int
    cpu: float
    """Seconds of processor time that it took itself."""


async def _call(call: Any, request: bytes, end: float) -> int:
    count = 0
    while time.perf_counter() < end:
        await call(request)
        count += 1
    return count


async def _serve(address: str, callers: int) -> None:
    request = ask("scale", texts("scale", 100)).SerializeToString()
    options = (*UNLIMITED, OWN_CONNECTION)
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
            for _ in range(callers)
        ]
        calls: list[Any] = [channel.unary_unary(METHOD) for channel in channels]
        while line := await asyncio.to_thread(sys.stdin.readline):
            cpu, end = time.process_time(), time.perf_counter() + float(line)
            counts = await asyncio.gather(*(_call(call, request, end) for call in calls))
            answered = Answered(sum(counts), time.process_time() - cpu)
            print(json.dumps(asdict(answered)), flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.callers")
    parser.add_argument("address")
    parser.add_argument("--callers", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_serve(options.address, options.callers))


if __name__ == "__main__":
    main()
