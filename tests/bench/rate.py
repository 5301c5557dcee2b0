"""A provider that allows 300 calls a minute, and a request that needs 600: rejections and time."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from bench.limits import CALLS, SECONDS
from bench.processes import ModelProcess, model, server
from bench.row import Row
from bench.texts import texts
from support.server import ask

_LATENCY = 0.1
_PAIRS = 2 * CALLS
_MOST_REJECTED = 10
_APART = 3.0
"""Seconds between two starts."""
_LONGEST = 1.1 * SECONDS
"""Seconds. The bucket has given twice its fill, and the second window begins, after SECONDS."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """How the limit works, and who tells the server of it."""

    name: str
    model_flags: Sequence[str]
    server_flags: Sequence[str] = ()


_VARIANTS = (
    _Variant("bucket, told by headers", ["--limit=bucket"]),
    _Variant("window, told by headers", ["--limit=window"]),
    _Variant(
        "window, told by the setting",
        ["--limit=window", "--silent", "--no-retry-after"],
        [f"--requests-per-minute={CALLS}"],
    ),
    _Variant("window, told by Retry-After alone", ["--limit=window", "--silent"]),
)


async def rate(folder: Path, progress: Progress) -> Sequence[Row]:
    """Run all variants together: they mostly wait, and what they do at once is kept apart."""
    return await asyncio.gather(
        *(
            _row(variant, folder / str(n), n * _APART, progress)
            for n, variant in enumerate(_VARIANTS)
        )
    )


async def _row(variant: _Variant, folder: Path, delay: float, progress: Progress) -> Row:
    await asyncio.sleep(delay)
    async with (
        model(_LATENCY, *variant.model_flags) as provider,
        server(folder, provider.base_url, *variant.server_flags) as (stub, _),
    ):
        watching = asyncio.create_task(_watch(provider, variant, progress))
        started = time.perf_counter()
        response = await stub.RerankOnce(ask("rate", texts("rate", _PAIRS)))
        seconds = time.perf_counter() - started
        watching.cancel()
        rejected = (await provider.counts())["rejected"]
    scored = response.usage.scored_pairs
    return Row(
        f"{_PAIRS} pairs, {CALLS} calls a minute: {variant.name}",
        f"all scored, at most {_MOST_REJECTED} rejected, at most {_LONGEST:.0f} s",
        f"{scored} scored, {rejected} rejected, {seconds:.1f} s",
        scored == _PAIRS and rejected <= _MOST_REJECTED and seconds <= _LONGEST,
    )


async def _watch(provider: ModelProcess, variant: _Variant, progress: Progress) -> None:
    shown = progress.add_task(f"rate: {variant.name}", total=_PAIRS)
    try:
        while True:
            progress.update(shown, completed=(await provider.counts())["answered"])
            await asyncio.sleep(1)
    finally:
        progress.remove_task(shown)
