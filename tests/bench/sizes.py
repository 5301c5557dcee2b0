"""Warm requests from one document to ten thousand: what a call takes, and a document of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.progress import Progress

from bench.figures import save
from bench.jobs import Job, Target, take_turns
from bench.processes import child, settled
from bench.row import Row
from bench.stock import BASE_URL, stock
from bench.wire import Shape
from support.process import serving

_CALLS = {1: 200, 10: 200, 100: 100, 1000: 20, 10_000: 7}
"""By the number of documents."""
_CHARACTERS = 750


@dataclass(frozen=True, slots=True)
class Size:
    """What calls of one size took, in milliseconds."""

    documents: int
    p50: float


async def sizes(folder: Path, progress: Progress) -> Sequence[Row]:
    """Ask a server for pairs that it has in memory, in another order each time."""
    shapes = {Shape(documents, _CHARACTERS): calls for documents, calls in _CALLS.items()}
    await stock(folder, [(str(shape), shape.texts) for shape in shapes], BASE_URL)
    found: list[Size] = []
    async with (
        serving(folder, OPENAI_BASE_URL=BASE_URL) as (server, address),
        child("caller") as caller,
    ):
        await settled(server.pid)
        for shape in progress.track(shapes, description="sizes"):
            target = Target("rerankd", address, server.pid, "shuffled", str(shape))
            await take_turns(caller, Job(shape, [target], 2, seed=1))
            times = await take_turns(caller, Job(shape, [target], shapes[shape], seed=2))
            found.append(Size(shape.documents, median(times["rerankd"])))
    save("sizes", found)
    return [
        Row(
            f"{size.documents:,} documents in a request",
            "",
            f"{size.p50:.2f} ms a call, {size.p50 * 1000 / size.documents:.1f} µs a document",
        )
        for size in found
    ]
