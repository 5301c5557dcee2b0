"""The memory of a server that holds many pairs in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.progress import Progress

from bench.figures import save
from bench.jobs import Job, Target, take_turns
from bench.processes import child, settled
from bench.row import Row
from bench.stock import BASE_URL, is_stocked, stock
from bench.stores import kept
from bench.wire import Shape, query_of
from support.process import serving

_SHAPE = Shape(1000, 750)
_MOST_BYTES = 250
_ROOM = 1024
"""Bytes of `memory_size` a pair: more than it takes."""
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Held:
    """What a server held, in bytes; and how long it takes to ask again, in milliseconds."""

    pairs: int
    empty: int
    full: int
    from_disk: float
    again: float


async def held(pairs: int, folder: Path, progress: Progress) -> Sequence[Row]:
    """Have a server read many pairs from disk, query by query, and ask for the first ones again."""
    count = pairs // _SHAPE.documents
    stocked = kept() / f"served-{pairs}"
    progress_of = progress.add_task(f"held: filling a store of {pairs:,}", total=count)
    if not await is_stocked(stocked, query_of("held", count - 1), _SHAPE.texts, BASE_URL):
        await stock(stocked, _queries(count), BASE_URL)
    progress.update(progress_of, description="held: requests")
    times: list[float] = []
    flag = f"--memory-size={max(64 << 20, _ROOM * pairs)}"
    async with (
        serving(stocked, flag, OPENAI_BASE_URL=BASE_URL) as (server, address),
        child("caller") as caller,
    ):
        await settled(server.pid)
        empty = server.memory()
        for first in range(0, count, _AT_ONCE):
            target = Target("rerankd", address, server.pid, "fresh", "held", first)
            job = Job(_SHAPE, [target], min(_AT_ONCE, count - first))
            times += (await take_turns(caller, job))["rerankd"]
            progress.update(progress_of, completed=first + job.calls)
        full = server.memory()
        target = Target("rerankd", address, server.pid, "shuffled", query_of("held", 0))
        again = (await take_turns(caller, Job(_SHAPE, [target], 5, seed=1)))["rerankd"]
    progress.remove_task(progress_of)
    found = Held(pairs, empty, full, median(times), again[0])
    save("held", [found])
    return [_row(found)]


def _queries(count: int) -> Iterable[tuple[str, Sequence[str]]]:
    texts = _SHAPE.texts
    for n in range(count):
        yield query_of("held", n), texts


def _row(found: Held) -> Row:
    more = found.full - found.empty
    return Row(
        f"memory of a server that holds {found.pairs:,} pairs, over an empty one's",
        f"at most {_MOST_BYTES * found.pairs / 1e6:.0f} MB",
        f"{more / 1e6:.0f} MB over {found.empty / 1e6:.0f}; 1,000 of them in {found.again:.1f} ms, "
        f"from disk {found.from_disk:.1f} ms",
        more <= _MOST_BYTES * found.pairs,
    )
