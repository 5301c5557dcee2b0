"""Runs benchmarks one after the other, and prints a table of what they say."""

import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.figures import save
from bench.row import REACHED, Bench, Row

_WIDTH = 170
"""Columns, where it is not a terminal that has some number of them."""


def show(benches: Mapping[str, Bench]) -> None:
    """Run `benches`, by name, each in an empty folder of its own, and print one table."""
    table = _table(asyncio.run(_run(benches)))
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


async def _run(benches: Mapping[str, Bench]) -> Sequence[Row]:
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name, bench in benches.items():
            shown = progress.add_task(name, total=None)
            with tempfile.TemporaryDirectory(prefix="rerankd-bench-") as folder:
                said = await bench(Path(folder), progress)
            save(f"rows-{name}", said)
            rows += said
            progress.remove_task(shown)
    return rows


def _table(rows: Sequence[Row]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what", "reach", "measured", "reached"):
        drawn.add_column(heading)
    for row in rows:
        drawn.add_row(row.what, row.reach, row.measured, REACHED[row.reached])
    return drawn
