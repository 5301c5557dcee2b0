"""Scale: how many calls a second warm servers of one and two processes answer, and the floor."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.progress import Progress

from bench.callers import Answered
from bench.processes import Child, child, cpu_seconds, model
from bench.row import Row
from support.process import serving
from support.workers import pids

_CALLERS, _PROCESSES = 16, 2
_SECONDS, _ROUNDS = 2.0, 5


@dataclass(frozen=True, slots=True)
class _Target:
    """A server that is called."""

    serving: Callable[[], Collection[int]]
    callers: list[Child]


@dataclass(frozen=True, slots=True)
class _Round:
    """What was measured of one target in one turn."""

    calls: float
    """A second."""
    server: float
    generator: float
    """Milliseconds of processor time a call."""


async def scale(folder: Path, progress: Progress) -> list[Row]:
    """Call all in turns, so that what else the machine does strikes all."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(model(0))
        targets = {
            f"{n} process{'es' if n > 1 else ''}": await stack.enter_async_context(
                _rerankd(folder / str(n), provider.base_url, n)
            )
            for n in (1, 2)
        }
        targets["the floor, 1 process"] = await stack.enter_async_context(_floor())
        rounds: Mapping[str, list[_Round]] = {name: [] for name in targets}
        for target in targets.values():
            await _round(target)  # what was cold is warm
        for _ in progress.track(range(_ROUNDS), description="scale: rounds"):
            for name, target in targets.items():
                rounds[name].append(await _round(target))
    return [_row(name, each) for name, each in rounds.items()]


async def _round(target: _Target) -> _Round:
    before = {pid: cpu_seconds(pid) for pid in target.serving()}
    lines = await asyncio.gather(*(caller.ask(str(_SECONDS)) for caller in target.callers))
    spent = sum(cpu_seconds(pid) - seconds for pid, seconds in before.items())
    answered = [Answered(**json.loads(line)) for line in lines]
    calls = sum(each.calls for each in answered)
    generator = sum(each.cpu for each in answered)
    return _Round(calls / _SECONDS, spent / calls * 1000, generator / calls * 1000)


def _row(name: str, rounds: list[_Round]) -> Row:
    calls, server, generator = (
        median(each)
        for each in zip(*((r.calls, r.server, r.generator) for r in rounds), strict=True)
    )
    cores = calls * generator / 1000
    return Row(
        f"warm calls a second, {_CALLERS} callers: {name}",
        "",
        f"{calls:.0f}; {server:.2f} ms of CPU each, and {generator:.2f} ms of the callers', who "
        f"take {cores:.1f} of this machine's {os.cpu_count()} cores",
    )


@asynccontextmanager
async def _rerankd(folder: Path, base_url: str, workers: int) -> AsyncGenerator[_Target]:
    async with (
        serving(folder, f"--workers={workers}", OPENAI_BASE_URL=base_url) as (server, address),
        _callers(address) as callers,
    ):
        yield _Target(lambda: pids(server) or {server.pid}, callers)


@asynccontextmanager
async def _floor() -> AsyncGenerator[_Target]:
    async with child("floor") as process:
        address = f"127.0.0.1:{int(await process.lines.readline())}"
        async with _callers(address) as callers:
            yield _Target(lambda: {process.pid}, callers)


@asynccontextmanager
async def _callers(address: str) -> AsyncGenerator[list[Child]]:
    each = f"--callers={_CALLERS // _PROCESSES}"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(child("callers", address, each))
            for _ in range(_PROCESSES)
        ]
