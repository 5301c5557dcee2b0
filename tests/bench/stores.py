"""Stores of any size, under keys that nobody has to hash: filled once, and kept.

They are written as a server writes them, and anew where that has changed.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256, shake_256
from pathlib import Path
from random import Random

from rich.progress import Progress

from bench.figures import FOLDER
from bench.stock import made_up, opened
from rerankd_server.caching import store
from rerankd_server.caching.key import HALF

QUERY = 100
"""Pairs of one query."""
_WRITING = ("database.py", "envelope.py", "store.py")
"""The files of the server that say what is on disk."""
_AT_ONCE = 100 * QUERY


def keys_of(query: int) -> Sequence[bytes]:
    """Give the keys of one query's pairs: as the server's, they begin alike."""
    data = shake_256(query.to_bytes(8, "big", signed=True)).digest(HALF * (QUERY + 1))
    of_query = data[:HALF]
    return [of_query + data[at : at + HALF] for at in range(HALF, len(data), HALF)]


def kept() -> Path:
    """Give the folder for stores; those that were written otherwise are deleted."""
    sources = (Path(store.__file__).with_name(name).read_bytes() for name in _WRITING)
    name = f"stores-{sha256(b''.join(sources)).hexdigest()[:8]}"
    for other in FOLDER.glob("stores-*"):
        if other.name != name:
            shutil.rmtree(other)
    return FOLDER / name


async def filled(pairs: int, progress: Progress) -> Path:
    """Give a data folder with `pairs` stored, which is filled where that was not done before."""
    folder = kept() / f"stored-{pairs}"
    scores = made_up(Random(7))
    async with opened(folder) as filling:
        stored = await filling.count()
        shown = progress.add_task(f"filling a store of {pairs:,}", total=pairs, completed=stored)
        for start in range(stored // _AT_ONCE * _AT_ONCE, pairs, _AT_ONCE):
            queries = range(start // QUERY, min(start + _AT_ONCE, pairs) // QUERY)
            keys = [key for query in queries for key in keys_of(query)]
            await filling.write({key: scores[n % len(scores)] for n, key in enumerate(keys)})
            progress.update(shown, completed=start + len(keys))
        progress.remove_task(shown)
        assert await filling.count() == pairs
    return folder


@contextmanager
def copied(source: Path, to: Path) -> Iterator[Path]:
    """Copy a data folder, for as long as it is needed: measuring writes to it.

    The copy is on disk before it is used, or whoever opens it would wait for that.
    """
    copy = Path(shutil.copytree(source, to / source.name))
    for file in _files(copy):
        with file.open("rb+") as copied_file:
            os.fsync(copied_file)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def bytes_in(folder: Path) -> int:
    """Give the bytes of all files in `folder`."""
    return sum(file.stat().st_size for file in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())
