"""Measures all that docs/performance.md tells, and writes it: `python -m bench.performance`."""

import argparse
import sys
from pathlib import Path

from bench.figures import saved_warm
from bench.growth import ALL_PAIRS, growth
from bench.mixed import mixed
from bench.peers import peers
from bench.performance_page import page
from bench.picture import draw_warm
from bench.show import show
from bench.warm import WARM

_DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.performance", description=__doc__)
    parser.add_argument("--write", action="store_true", help="only write what was measured last")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="where performance.md goes")
    options = parser.parse_args()
    if not options.write:
        show({"warm": WARM, **growth(ALL_PAIRS), "mixed": mixed, "peers": peers})
    figures = saved_warm()
    if not figures:
        parser.error("nothing was measured yet")
    options.docs.mkdir(exist_ok=True)
    draw_warm(figures, options.docs / "performance.png")
    (options.docs / "performance.md").write_text(page(figures), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
