"""What grows with the number of pairs, and what must not: `python -m bench.growth`."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Self

from rich.progress import Progress

from bench.figures import Spread, save
from bench.held import held
from bench.prober import Probe
from bench.processes import child
from bench.row import Bench, Row
from bench.show import show
from bench.sizes import sizes
from bench.stores import bytes_in, copied, filled

_PAIRS = [10**4, 10**5, 10**6, 10**7]
ALL_PAIRS = _PAIRS[-1]
_MOST_HELD = 10**6
_MOST_GROWTH = 1.5
_MOST_BYTES = 200
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store of `pairs` takes."""

    pairs: int
    bytes: float
    """Of disk, a pair."""
    open: float
    lookup: float
    commit: float
    """Milliseconds; look-ups and commits are of 100 pairs of one query."""
    memory: float
    """MiB."""

    @classmethod
    def of(cls, pairs: int, folder: Path, probes: Sequence[Probe]) -> Self:
        figures = ("open", "lookup", "commit", "memory")
        middle = {name: median(getattr(probe, name) for probe in probes) for name in figures}
        return cls(pairs, bytes_in(folder) / pairs, **middle)


def growth(up_to: int) -> Mapping[str, Bench]:
    """Give the benchmarks, for stores of at most `up_to` pairs."""
    return {
        "stores": partial(_stores, [pairs for pairs in _PAIRS if pairs <= up_to]),
        "sizes": sizes,
        "held": partial(held, min(up_to, _MOST_HELD)),
    }


async def _stores(pairs: Sequence[int], folder: Path, progress: Progress) -> Sequence[Row]:
    """Measure the stores in turns, each in a fresh process and on a fresh copy."""
    sources = {each: await filled(each, progress) for each in pairs}
    probes: dict[int, list[Probe]] = {each: [] for each in pairs}
    shown = progress.add_task("stores: probing", total=_ROUNDS * len(pairs))
    for _ in range(_ROUNDS):
        for each, source in sources.items():
            probes[each].append(await _probe(each, source, folder))
            progress.advance(shown)
    progress.remove_task(shown)
    stored = [Stored.of(each, sources[each], probes[each]) for each in pairs]
    save("growth", stored)
    small, large = (probes[each] for each in (pairs[0], pairs[-1]))
    ratio = Spread.of([two.lookup / one.lookup for one, two in zip(small, large, strict=True)])
    bytes_a_pair = stored[-1].bytes
    return [
        *map(_row, stored),
        Row(
            f"100 look-ups among {pairs[-1]:,} pairs",
            f"at most {_MOST_GROWTH} x those among {pairs[0]:,}",
            f"{ratio} x",
            ratio.middle <= _MOST_GROWTH,
        ),
        Row(
            f"disk, {pairs[-1]:,} pairs",
            f"at most {_MOST_BYTES} bytes a pair",
            f"{bytes_a_pair:.0f}",
            bytes_a_pair <= _MOST_BYTES,
        ),
    ]


async def _probe(pairs: int, source: Path, folder: Path) -> Probe:
    with copied(source, folder) as copy:
        async with child("prober", f"--folder={copy}", f"--pairs={pairs}") as prober:
            return Probe(**json.loads(await prober.lines.readline()))


def _row(stored: Stored) -> Row:
    return Row(
        f"{stored.pairs:,} pairs stored",
        "",
        f"opened in {stored.open:.1f} ms, 100 look-ups {stored.lookup:.2f} ms, 100 stored in "
        f"{stored.commit:.2f} ms, {stored.memory:.1f} MiB of memory, {stored.bytes:.0f} bytes "
        "a pair",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--up-to", type=float, default=ALL_PAIRS, help="pairs, such as 1e6")
    show(growth(int(parser.parse_args().up_to)))


if __name__ == "__main__":
    main()
