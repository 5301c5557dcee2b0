"""What grows with the number of pairs, and what must not: `python -m bench.growth`."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import Progress

from bench.figures import save
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


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store of `pairs` takes."""

    pairs: int
    bytes: float
    """Of disk, a pair."""
    probe: Probe


def growth(up_to: int) -> Mapping[str, Bench]:
    """Give the benchmarks, for stores of at most `up_to` pairs."""
    return {
        "stores": partial(_stores, [pairs for pairs in _PAIRS if pairs <= up_to]),
        "sizes": sizes,
        "held": partial(held, min(up_to, _MOST_HELD)),
    }


async def _stores(pairs: Sequence[int], folder: Path, progress: Progress) -> Sequence[Row]:
    """Measure each store in a process of its own, on a copy."""
    stored = [await _measure(each, folder, progress) for each in pairs]
    save("growth", stored)
    small, large = stored[0], stored[-1]
    ratio = large.probe.lookup / small.probe.lookup
    return [
        *map(_row, stored),
        Row(
            f"100 look-ups among {large.pairs:,} pairs",
            f"at most {_MOST_GROWTH} x those among {small.pairs:,}",
            f"{ratio:.2f} x",
            ratio <= _MOST_GROWTH,
        ),
        Row(
            "disk",
            f"at most {_MOST_BYTES} bytes a pair",
            f"{large.bytes:.0f}",
            large.bytes <= _MOST_BYTES,
        ),
    ]


async def _measure(pairs: int, folder: Path, progress: Progress) -> Stored:
    source = await filled(pairs, progress)
    copy = copied(source, folder)
    shown = progress.add_task(f"{pairs:,} pairs", total=None)
    async with child("prober", f"--folder={copy}", f"--pairs={pairs}") as prober:
        probe = Probe(**json.loads(await prober.lines.readline()))
    progress.remove_task(shown)
    return Stored(pairs, bytes_in(source) / pairs, probe)


def _row(stored: Stored) -> Row:
    probe = stored.probe
    return Row(
        f"{stored.pairs:,} pairs stored",
        "",
        f"opened in {probe.open:.1f} ms, 100 look-ups {probe.lookup:.2f} ms, 100 stored in "
        f"{probe.commit:.2f} ms, {probe.memory:.1f} MiB of memory, {stored.bytes:.0f} bytes a pair",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--up-to", type=float, default=ALL_PAIRS, help="pairs, such as 1e6")
    show(growth(int(parser.parse_args().up_to)))


if __name__ == "__main__":
    main()
