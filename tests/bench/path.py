"""The warm path, measured: `python -m bench.path [--quick]`."""

import argparse

from bench.growth import growth
from bench.mixed import mixed
from bench.show import show
from bench.warm import WARM, WARM_QUICKLY

_PAIRS = 10**5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.path", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one shape only, in seconds")
    if parser.parse_args().quick:
        show({"warm-quickly": WARM_QUICKLY})
    else:
        show({"warm": WARM, **growth(_PAIRS), "mixed": mixed})


if __name__ == "__main__":
    main()
