"""Measures ways of scoring on real queries, and writes docs/quality.md: `python -m bench.quality`.

The model is a recording, and nothing leaves this machine.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console

from bench.curve import draw_curves
from bench.measured import measure_all
from bench.page import page
from bench.targets import LEAST_QUALITY, MOST_CALLS, targets_of
from rerankd_server.evaluation.plot import draw
from rerankd_server.logs import configure_logs
from support.trec import FOLDER

_DOCS = Path(__file__).parents[2] / "docs"
_SETS = ("dl19", "dl20")
_DRAWN = ("pointwise", "batched", "cascade", "cheap cascade", "embeddings", "lexical")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=FOLDER, help="holds dl19.jsonl.gz, ...")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="where quality.md goes")
    options = parser.parse_args()
    files = [options.data / f"{name}.jsonl.gz" for name in _SETS]
    if missing := [file for file in files if not file.exists()]:
        parser.error(f"{missing[0]} is not there; set RERANKD_TREC_DIR to where it is")
    configure_logs("console", "warning")
    sets = asyncio.run(measure_all(files))
    targets = targets_of(sets)
    options.docs.mkdir(exist_ok=True)
    for each in sets:
        shown = [each.evaluations[name] for name in _DRAWN]
        title = f"{each.name}: {len(each.collection.queries)} queries, a recorded model"
        draw(shown, title, options.docs / f"quality-{each.name}.png")
    curves = [each.curve(cheap) for each in sets for cheap in ("embeddings", "lexical")]
    draw_curves(curves, MOST_CALLS, LEAST_QUALITY, options.docs / "cascade.png")
    (options.docs / "quality.md").write_text(page(sets, targets), encoding="utf-8")
    console = Console(highlight=False)
    for target in targets:
        reached = "[green]reached[/]" if target.reached else "[red]not reached[/]"
        console.print(f"{reached}: {target.what}: {', '.join(target.measured)}")
    return 0 if all(target.reached for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
