"""A herd: many callers who ask for the same at once, and what is bought for them."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from rich.progress import Progress

from bench.processes import server
from bench.row import Row
from bench.texts import texts
from support.provider import Call, fake_provider, label_in
from support.server import ask

_CALLERS = 100


async def herd(folder: Path, progress: Progress) -> Sequence[Row]:
    """Ask for the same hundred, then for halves of two hundred."""
    same = texts("herd", 100)
    many = texts("halves", 200)
    chance = random.Random(7)
    return [
        await _row("100 callers, the same 100 documents", folder, [same] * _CALLERS),
        await _row(
            "100 callers, random halves of 200 documents",
            folder,
            [chance.sample(many, 100) for _ in range(_CALLERS)],
        ),
    ]


async def _row(what: str, folder: Path, requests: Sequence[Sequence[str]]) -> Row:
    distinct = sorted(set().union(*requests))
    async with fake_provider(_after_a_while) as provider, server(folder, provider.base_url) as up:
        stub, _ = up
        await stub.RerankOnce(ask("warm", texts("warm", 1)))
        provider.calls.clear()
        started = time.perf_counter()
        await asyncio.gather(*(stub.RerankOnce(ask("herd", documents)) for documents in requests))
        seconds = time.perf_counter() - started
        return Row(
            what,
            f"{len(distinct)} model calls",
            f"{len(provider.calls)} in {seconds:.1f} s",
            sorted(provider.documents) == distinct,
        )


async def _after_a_while(call: Call) -> web.Response:
    await asyncio.sleep(0.02)
    return label_in(call)
