"""Prints what each benchmark is to reach and what it reaches: `python -m bench.load [name ...]`."""

import argparse
from collections.abc import Mapping

from bench.cold import cold
from bench.cost import cost
from bench.deadline import deadline
from bench.fairness import fairness
from bench.herd import herd
from bench.million import million
from bench.rate import rate
from bench.row import Bench
from bench.scale import scale
from bench.show import show

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
    show({name: _BENCHES[name] for name in names})


if __name__ == "__main__":
    main()
