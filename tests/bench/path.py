"""The warm path, measured: `python -m bench.path [--quick]`."""

import argparse
from collections.abc import Mapping

from bench.row import Bench
from bench.show import show
from bench.warm import WARM, WARM_QUICKLY

_BENCHES: Mapping[str, Bench] = {"warm": WARM}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.path", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one shape only, in seconds")
    show({"warm": WARM_QUICKLY} if parser.parse_args().quick else _BENCHES)


if __name__ == "__main__":
    main()
