"""Writes distinct pairs into a store, in a process of its own: `python -m bench.writer`.

It prints a line of JSON, a `Sample`, now and then.
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rerankd_server.caching.store import Store
from rerankd_server.scoring.scorer import LABELS, Judgement, rounded

_BATCH = 100
"""Pairs in a write, as a request would have."""
_DIFFERENT = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """Where the store stands."""

    pairs: int
    """Written so far."""
    folder: int
    """Bytes on disk, the most since the last sample."""
    rss: int
    """Bytes of memory that the process holds."""
    own: int
    """Of these, without what is mapped from files: SQLite maps the database."""
    seconds: float
    """Spent in writes so far."""


def _scores() -> Sequence[Judgement]:
    chance = random.Random(7)
    scores: list[Judgement] = []
    for _ in range(_DIFFERENT):
        weights = [chance.random() for _ in LABELS]
        labels = [weight / sum(weights) for weight in weights]
        expected = sum(n * p for n, p in zip(LABELS, labels, strict=True)) / LABELS[-1]
        now, model = int(time.time()), "gpt-4o-mini-2024-07-18"
        scores.append(Judgement(rounded(expected), 450, 1, now, labels, model))
    return scores


def _bytes_in(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) << 10


async def _write(folder: Path, size_limit: int, pairs: int, every: int) -> None:
    store = Store(folder, size_limit)
    await store.open()
    scores = _scores()
    seconds, largest = 0.0, 0
    for written in range(_BATCH, pairs + 1, _BATCH):
        start = written % _DIFFERENT
        batch = {os.urandom(32): score for score in scores[start : start + _BATCH]}
        started = time.perf_counter()
        await store.write(batch)
        seconds += time.perf_counter() - started
        largest = max(largest, _bytes_in(store.folder))
        if written % every == 0:
            sample = Sample(written, largest, _memory("VmRSS"), _memory("RssAnon"), seconds)
            print(json.dumps(asdict(sample)), flush=True)  # noqa: T201
            largest = 0
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.writer")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size-limit", type=int, required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--every", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_write(options.folder, options.size_limit, options.pairs, options.every))


if __name__ == "__main__":
    main()
