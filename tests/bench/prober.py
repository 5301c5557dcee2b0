"""Opens a store, looks up and commits, in a process of its own: `python -m bench.prober`.

It prints a `Probe` as JSON. What it looks up it has not read before.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median

from bench.stock import SIZE_LIMIT, made_up
from bench.stores import QUERY, keys_of
from rerankd_server.caching.store import Store
from support.process import memory_of

_LOOKUPS, _COMMITS = 400, 100


@dataclass(frozen=True, slots=True)
class Probe:
    """What a store took. Milliseconds; look-ups and commits are of one query's pairs."""

    open: float
    lookup: float
    commit: float
    memory: float
    """MiB that the process holds at the end, more than before it opened the store."""


async def _probe(folder: Path, pairs: int) -> Probe:
    before = memory_of(os.getpid())
    started = time.perf_counter()
    store = Store(folder, SIZE_LIMIT)
    await store.open()
    opened = time.perf_counter() - started
    queries = pairs // QUERY
    lookups = [
        await _look_up(store, query)
        for query in Random(7).sample(range(queries), min(_LOOKUPS, queries))
    ]
    commits = [await _commit(store, -1 - n) for n in range(_COMMITS)]
    memory = memory_of(os.getpid()) - before
    await store.close()
    return Probe(opened * 1000, median(lookups) * 1000, median(commits) * 1000, memory / (1 << 20))


async def _look_up(store: Store, query: int) -> float:
    keys = keys_of(query)
    started = time.perf_counter()
    found = await store.read(keys)
    seconds = time.perf_counter() - started
    assert len(found) == len(keys)
    return seconds


async def _commit(store: Store, query: int) -> float:
    findings = dict(zip(keys_of(query), made_up(Random(query)), strict=False))
    started = time.perf_counter()
    await store.write(findings)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prober")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pairs", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(asdict(asyncio.run(_probe(options.folder, options.pairs)))))  # noqa: T201


if __name__ == "__main__":
    main()
