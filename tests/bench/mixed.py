"""Hits beside misses: what calls that the cache answers take while others are being scored.

Calls come as those of many callers do, at random times, a certain number a second.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

from rich.progress import Progress

from bench.figures import save
from bench.processes import child, model, settled
from bench.row import Row
from bench.run import NAME, SHAPE, Mixed, Run
from bench.stock import stock
from bench.wire import query_of
from bench.zipf import arrivals, zipf
from support.process import serving

_LATENCY = 0.3
_CONCURRENCY = 256
_BEFORE = 20_000
"""Calls of the stream that the server has seen already."""
_PARTS, _SECONDS = 3, 10
_MOST_CALLS = 6000
_MOST = 1.5


async def mixed(folder: Path, progress: Progress) -> Sequence[Row]:
    """Run the stream in parts; before and after each, those of its calls that find all cached."""
    chance = Random(7)
    queries = zipf(chance)
    known = set(islice(queries, _BEFORE))
    shown = progress.add_task("mixed: filling the store", total=None)
    async with model(_LATENCY) as provider, child("streamer") as streamer:
        texts = SHAPE.texts
        stocked = ((query_of(NAME, n), texts) for n in sorted(known))
        await stock(folder, stocked, provider.base_url)
        flags = (folder, f"--concurrency={_CONCURRENCY}")
        async with serving(*flags, OPENAI_BASE_URL=provider.base_url) as (server, address):
            await settled(server.pid)
            run = Run(streamer, address, server.pid, known)
            coming = list(islice(queries, _MOST_CALLS))
            progress.update(shown, description="mixed: what calls cost")
            rate = min(await run.rate(coming), len(coming) / (_PARTS * _SECONDS))
            progress.update(shown, total=_PARTS)
            for part in range(_PARTS):
                progress.update(shown, description="mixed: hits beside misses", completed=part)
                times = arrivals(chance, rate, _SECONDS)
                start = part * len(times)
                await run.part(list(zip(times, coming[start:], strict=False)))
            await run.alone_again()
    progress.remove_task(shown)
    found = run.found(rate)
    save("mixed", [found])
    return _rows(found)


def _rows(found: Mixed) -> Sequence[Row]:
    return [
        Row(
            f"{found.calls_per_second:.0f} calls a second of {SHAPE.documents} documents, the "
            f"model takes {_LATENCY * 1000:.0f} ms",
            "",
            f"{found.hit_ratio:.1%} hits, the server {found.busy:.0%} busy; calls at most "
            f"{found.late:.1f} ms late (p99)",
        ),
        Row(
            "p50 of hits beside misses, over that without",
            "",
            f"{found.p50_ratio} x, {median(each.p50 for each in found.beside):.2f} ms to "
            f"{median(each.p50 for each in found.alone):.2f} ms",
        ),
        Row(
            "p99 of hits beside misses, over that without",
            f"at most {_MOST} x",
            f"{found.p99_ratio} x, {median(each.p99 for each in found.beside):.2f} ms to "
            f"{median(each.p99 for each in found.alone):.2f} ms",
            found.p99_ratio.middle <= _MOST,
        ),
    ]
