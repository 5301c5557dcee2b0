"""The processes around a measurement: a model, a server, and what they cost."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from support.process import environment, serving
from support.server import Stub, stub_of

_LONGEST_LINE = 1 << 20
_A_WHILE = 0.5
_IDLE = 0.05
"""The share of a processor that a process without work may use."""


@dataclass(frozen=True, slots=True)
class ModelProcess:
    """A running `bench.model`."""

    address: str

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    async def counts(self) -> Mapping[str, int]:
        """Give how many calls arrived, were answered, and were rejected."""
        async with aiohttp.request("GET", f"{self.address}/counts") as response:
            return dict(await response.json())

    async def take(self, latency: float) -> None:
        """Have it take `latency` seconds from now on."""
        async with aiohttp.request("POST", f"{self.address}/latency", data=str(latency)):
            pass


class Child:
    """A running module of this package."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self.pid = process.pid
        self.lines = process.stdout
        self._stdin = process.stdin

    async def ask(self, line: str) -> bytes:
        """Send it a line, and give the one that it answers with."""
        self._stdin.write(f"{line}\n".encode())
        answer = await self.lines.readline()
        assert answer
        return answer


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncGenerator[Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"bench.{module}", *arguments),
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def model(latency: float, *flags: str) -> AsyncGenerator[ModelProcess]:
    """Run a model that takes `latency` seconds."""
    async with child("model", f"--latency={latency}", *flags) as process:
        yield ModelProcess((await process.lines.readline()).decode().strip())


@asynccontextmanager
async def server(folder: Path, base_url: str, *flags: str) -> AsyncGenerator[tuple[Stub, int]]:
    """Run a server that asks `base_url`; gives a stub to call it by, and its process's id."""
    async with (
        serving(folder, *flags, OPENAI_BASE_URL=base_url) as (process, address),
        stub_of(address) as stub,
    ):
        yield stub, process._process.pid


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has used, with all its threads."""
    return time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) gives


async def settled(pid: int) -> None:
    """Wait until a process has nothing to do: a server loads some of itself after it is ready."""
    used = cpu_seconds(pid)
    while True:
        await asyncio.sleep(_A_WHILE)
        before, used = used, cpu_seconds(pid)
        if used - before < _IDLE * _A_WHILE:
            return
