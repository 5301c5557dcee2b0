"""A cold request: how near its wall time is to what the model's latency alone would take."""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from bench.processes import model, server
from bench.row import Row
from bench.texts import texts
from support.server import ask

_LATENCY = 0.3
_DOCUMENTS, _CONCURRENCY = 100, 32
_ROUNDS = 5
_MOST = 1.15


async def cold(folder: Path, progress: Progress) -> Sequence[Row]:
    """Ask a warm server for documents that it does not know."""
    ideal = math.ceil(_DOCUMENTS / _CONCURRENCY) * _LATENCY
    took: list[float] = []
    async with (
        model(_LATENCY) as provider,
        server(folder, provider.base_url, f"--concurrency={_CONCURRENCY}") as (stub, _),
    ):
        await stub.RerankOnce(ask("warm", texts("warm", _DOCUMENTS)))
        for n in progress.track(range(_ROUNDS), description="cold: requests"):
            request = ask(f"cold {n}", texts("cold", _DOCUMENTS))
            started = time.perf_counter()
            response = await stub.RerankOnce(request)
            took.append(time.perf_counter() - started)
            assert response.usage.scored_pairs == _DOCUMENTS
    median = statistics.median(took)
    return [
        Row(
            f"{_DOCUMENTS} cold documents, {_LATENCY * 1000:.0f} ms, {_CONCURRENCY} at once",
            f"at most {_MOST} x {ideal:g} s",
            f"{median / ideal:.2f} x ({median:.3f} s, worst {max(took):.3f} s)",
            median <= _MOST * ideal,
        )
    ]
