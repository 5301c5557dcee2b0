"""The processor time of a scored pair, beside what the openai SDK alone takes for the same call."""

import statistics
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from bench.processes import child, cpu_seconds, model, server
from bench.row import Row
from bench.texts import texts
from support.server import ask

_LATENCY = 0.02
_PAIRS, _CONCURRENCY = 250, 32
_ROUNDS = 12
_MOST = 1.2


async def cost(folder: Path, progress: Progress) -> Sequence[Row]:
    """Measure in short turns, so that what else the machine does strikes all."""
    took: Mapping[str, list[float]] = {"server": [], "create": [], "post": []}
    documents = texts("cost", _PAIRS)
    async with (
        model(_LATENCY) as provider,
        server(folder, provider.base_url, f"--concurrency={_CONCURRENCY}") as (stub, server_pid),
        child(
            "bare",
            f"--base-url={provider.base_url}",
            f"--calls={_PAIRS}",
            f"--concurrency={_CONCURRENCY}",
        ) as sdk,
    ):
        await stub.RerankOnce(ask("warm", documents))
        for how in ("create", "post"):
            await sdk.ask(how)
        for n in progress.track(range(_ROUNDS), description="cost: rounds"):
            request = ask(f"cost {n}", documents, require_complete=True)
            took["server"].append(await _cost_of(stub.RerankOnce(request), server_pid))
            for how in ("create", "post"):
                took[how].append(await _cost_of(sdk.ask(how), sdk.pid))
    ours, create, post = (statistics.median(each) for each in took.values())
    return [
        Row(
            "processor time of a scored pair",
            f"at most {_MOST} x the SDK's `create`",
            f"{ours / create:.2f} x ({_ms(ours)} to {_ms(create)})",
            ours <= _MOST * create,
        ),
        Row(
            "beside the SDK's `post` of plain JSON",
            "",
            f"{ours / post:.2f} x ({_ms(ours)} to {_ms(post)})",
        ),
    ]


async def _cost_of(work: Awaitable[object], pid: int) -> float:
    before = cpu_seconds(pid)
    await work
    return cpu_seconds(pid) - before


def _ms(seconds: float) -> str:
    return f"{seconds / _PAIRS * 1000:.2f} ms"
