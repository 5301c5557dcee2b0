"""A million pairs through a store that holds far fewer: its folder, its memory, its speed."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from bench.processes import child
from bench.row import Row, sparkline
from bench.writer import Sample

_PAIRS, _EVERY = 1_000_000, 50_000
_WARM = 200_000
_LIMIT = 64 << 20
_MOST_GROWTH = 1.1


async def million(folder: Path, progress: Progress) -> Sequence[Row]:
    """Have another process write, and look at what it prints."""
    samples: list[Sample] = []
    flags = (
        f"--folder={folder}",
        f"--size-limit={_LIMIT}",
        f"--pairs={_PAIRS}",
        f"--every={_EVERY}",
    )
    shown = progress.add_task("million: pairs", total=_PAIRS)
    async with child("writer", *flags) as writer:
        async for line in writer.lines:
            samples.append(Sample(**json.loads(line)))
            progress.update(shown, completed=samples[-1].pairs)
    progress.remove_task(shown)
    largest = max(sample.folder for sample in samples)
    warm = next(sample for sample in samples if sample.pairs == _WARM)
    last = samples[-1]
    assert last.pairs == _PAIRS
    return [
        Row(
            f"the folder, {_PAIRS:,} pairs through it",
            f"at most {_mib(_LIMIT)}",
            f"{_mib(largest)} {sparkline([sample.folder for sample in samples])}",
            largest <= _LIMIT,
        ),
        Row(
            f"memory of its own after {_WARM:,}, and after all",
            f"at most {_MOST_GROWTH} x",
            f"{_mib(warm.own)}, {_mib(last.own)} {sparkline([sample.own for sample in samples])}",
            last.own <= _MOST_GROWTH * warm.own,
        ),
        Row(
            "the same with the mapped database",
            "",
            f"{_mib(warm.rss)}, {_mib(last.rss)} {sparkline([sample.rss for sample in samples])}",
        ),
        Row(
            "time to store a pair",
            "",
            f"{last.seconds / last.pairs * 1e6:.0f} µs",
        ),
    ]


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB"
