"""The systems whose warm calls are compared, each in a process of its own."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from bench.jobs import Target
from bench.processes import child, settled
from bench.stock import BASE_URL, stock
from bench.wire import METHOD, Requests, Shape, query_of
from support.options import UNLIMITED
from support.process import serving

FLOOR, UVLOOP, SHUFFLED, SAME, DISK, NAIVE = SYSTEMS = (
    "floor",
    "floor on uvloop",
    "rerankd, shuffled",
    "rerankd, same bytes",
    "rerankd, from disk",
    "naive loop",
)
LITELLM = "LiteLLM"


@dataclass(frozen=True, slots=True)
class System:
    """Where a system is, and what it is asked; see `Target`."""

    name: str
    address: str
    pid: int
    asks: str = "shuffled"

    def target(self, shape: Shape, first: int) -> Target:
        """Have it asked about `shape`; `first` is the first query that it has not been asked."""
        query = _fresh(shape) if self.asks == "fresh" else str(shape)
        return Target(self.name, self.address, self.pid, self.asks, query, first)


async def fill(folder: Path, queries: Mapping[Shape, int]) -> None:
    """Store as many different `queries` of each shape."""
    await stock(folder / "rerankd", _stocked(queries), BASE_URL)


@asynccontextmanager
async def started(folder: Path, shapes: Iterable[Shape]) -> AsyncGenerator[Mapping[str, System]]:
    """Start all systems with what `fill` stored in `folder`."""
    async with (
        child("floor") as floor,
        child("floor", "--uvloop") as uvloop,
        child("naive", str(folder / "naive")) as naive,
        serving(folder / "rerankd", OPENAI_BASE_URL=BASE_URL) as (memory, in_memory),
        serving(folder / "rerankd", OPENAI_BASE_URL=BASE_URL) as (disk, on_disk),
    ):
        ports = [int(await each.lines.readline()) for each in (floor, uvloop, naive)]
        plain = [f"127.0.0.1:{port}" for port in ports]
        systems = [
            System(FLOOR, plain[0], floor.pid),
            System(UVLOOP, plain[1], uvloop.pid),
            System(SHUFFLED, in_memory, memory.pid),
            System(SAME, in_memory, memory.pid, "same"),
            System(DISK, on_disk, disk.pid, "fresh"),
            System(NAIVE, plain[2], naive.pid),
        ]
        for server in (memory, disk):
            await settled(server.pid)
        await _ask_once(plain[2], shapes)
        yield {system.name: system for system in systems}


def _stocked(queries: Mapping[Shape, int]) -> Iterable[tuple[str, Sequence[str]]]:
    for shape, count in queries.items():
        texts = shape.texts
        yield str(shape), texts
        for n in range(count):
            yield query_of(_fresh(shape), n), texts


def _fresh(shape: Shape) -> str:
    return f"{shape} from disk"


async def _ask_once(address: str, shapes: Iterable[Shape]) -> None:
    """Have the naive loop make its scores up."""
    async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
        call: Any = channel.unary_unary(METHOD)
        for shape in shapes:
            await call(next(Requests(shape).same(str(shape))))
