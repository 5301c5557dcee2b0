"""Prints what each benchmark is to reach and what it reaches: `python -m bench.load [name ...]`."""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.cold import cold
from bench.cost import cost
from bench.deadline import deadline
from bench.fairness import fairness
from bench.herd import herd
from bench.million import million
from bench.rate import rate
from bench.row import REACHED, Bench, Row
from bench.scale import scale

_BENCHES: Mapping[str, Bench] = {
    "herd": herd,
    "cold": cold,
    "cost": cost,
    "deadline": deadline,
    "fairness": fairness,
    "rate": rate,
    "scale": scale,
    "million": million,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BENCHES))
    names = parser.parse_args().names or list(_BENCHES)
    if unknown := [name for name in names if name not in _BENCHES]:
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(_BENCHES)}")
    rows = asyncio.run(_run(names))
    Console().print(_table(rows))


async def _run(names: Sequence[str]) -> Sequence[Row]:
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name in names:
            shown = progress.add_task(name, total=None)
            with tempfile.TemporaryDirectory(prefix="rerankd-bench-") as folder:
                rows += await _BENCHES[name](Path(folder), progress)
            progress.remove_task(shown)
    return rows


def _table(rows: Sequence[Row]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "reach", "measured", "reached"):
        drawn.add_column(name)
    for row in rows:
        drawn.add_row(row.what, row.reach, row.measured, REACHED[row.reached])
    return drawn


if __name__ == "__main__":
    main()
