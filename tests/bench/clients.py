"""What a warm call costs from each language: `python -m bench.clients LANGUAGE...`.

Each language's client calls rerankd and the floor in turns, so that what drifts hits both.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.processes import child, model
from bench.row import REACHED
from clients.golden import PROJECT, RUNNERS
from support.process import environment, serving

_CALLS = 300
_MOST = 1.5
"""Times the floor, at the median, for the same request again."""
_SHUFFLED = "python, shuffled"
"""Of each call's documents: told beside the others, for its reply is made anew."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds that calls took from one language."""

    language: str
    floor: Sequence[float]
    rerankd: Sequence[float]

    @property
    def ratio(self) -> float:
        return median(self.rerankd) / median(self.floor)


async def measure(languages: Sequence[str], folder: Path) -> Sequence[Cost]:
    async with (
        model(0) as provider,
        serving(folder, OPENAI_BASE_URL=provider.base_url) as (_, rerankd),
        child("floor") as process,
    ):
        floor = f"127.0.0.1:{int(await process.lines.readline())}"
        addresses = f"rerankd={rerankd}", f"floor={floor}"
        return [
            *[await _measure(each, RUNNERS[each], *addresses) for each in languages],
            await _measure(_SHUFFLED, RUNNERS["python"], *addresses, "order=shuffled"),
        ]


async def _measure(name: str, runner: Sequence[str], *arguments: str) -> Cost:
    process = await asyncio.create_subprocess_exec(
        *(*runner, "bench", *arguments, f"calls={_CALLS}"),
        env=environment(),
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    figures = json.loads(output)
    return Cost(name, figures["floor"], figures["rerankd"])


def main() -> None:
    languages = sys.argv[1:] or list(RUNNERS)
    with tempfile.TemporaryDirectory(prefix="rerankd-bench-") as folder:
        costs = asyncio.run(measure(languages, Path(folder)))
    Console().print(_table(costs))


def _table(costs: Sequence[Cost]) -> Table:
    table = Table(
        title=f"100 documents of 750 characters, {_CALLS} calls: ms; at most {_MOST} times"
    )
    table.add_column("client")
    for heading in ("floor p50", "p99", "rerankd p50", "p99", "times", "reached"):
        table.add_column(heading, justify="right")
    for cost in costs:
        figures = [
            f"{figure(times):.2f}"
            for times in (cost.floor, cost.rerankd)
            for figure in (median, _p99)
        ]
        table.add_row(cost.language, *figures, f"{cost.ratio:.2f}", _reached(cost))
    return table


def _reached(cost: Cost) -> Text:
    return REACHED[None if cost.language == _SHUFFLED else cost.ratio <= _MOST]


def _p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100)[98]


if __name__ == "__main__":
    main()
