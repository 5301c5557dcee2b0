"""The store: sealed scores on disk, by key. The only place that knows diskcache.

One thread of its own does all that blocks. A read that fails is a miss and a write that fails loses
only the saving, never the answer: both say so in the log, and the caller goes on.

Nothing read from disk is trusted. diskcache would unpickle rows that are marked so, and read or
delete files that rows name (CVE-2025-69872); `_BytesDisk` refuses both, and what is left is bytes
that must pass their checksum.
"""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import diskcache
import structlog

from rerankd_server.caching.envelope import seal, unseal
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.scorer import Score

T = TypeVar("T")

_log = structlog.get_logger()

_FOLDER = "scores-v1"
"""The folder's name inside the data folder: another layout on disk gets another name."""
_LOCK_WAIT = 0.25
"""Seconds to wait for another process's transaction: all that it takes is a few milliseconds."""
_OPEN_WAIT = 2.0
"""The same, when the store is opened."""
_REST = 1.0
"""Seconds without a try to write after one that failed: callers must not wait for each again."""
_TRANSACTION = 256
"""Most scores in one transaction: what bounds the write-ahead log, and a reader's wait."""
_LOG_ROOM = 8 << 20
"""Bytes of the size limit kept free for SQLite's write-ahead log, which stands beside the data."""
SMALLEST_LIMIT = 4 * _LOG_ROOM
"""The least size limit, bytes."""

_FAILURES = (sqlite3.Error, OSError, diskcache.Timeout)


class _BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Bytes in and out, all of it in the database: no pickles, no files, whatever a row says."""

    def __init__(self, directory: str, **_settings: object) -> None:
        super().__init__(directory)

    def put(self, key: bytes) -> tuple[memoryview, bool]:
        return memoryview(key), True

    def get(self, key: object, raw: object) -> object:
        if not raw or not isinstance(key, bytes):
            raise OSError("refused a stored key that is not plain bytes")
        return key

    def store(
        self,
        value: bytes,
        read: object,
        key: object = None,
    ) -> tuple[int, int, None, memoryview]:
        return 0, diskcache.core.MODE_RAW, None, memoryview(value)

    def fetch(
        self,
        mode: object,
        filename: object,
        value: object,
        read: object,
    ) -> bytes:
        # diskcache takes an OSError here for "not there".
        if mode != diskcache.core.MODE_RAW or filename is not None or not isinstance(value, bytes):
            raise OSError("refused a stored value that is not plain bytes")
        return value

    def remove(self, file_path: object) -> None:
        """Delete nothing: we never store a file, so a row that names one was planted."""


class Store:
    """Scores by 32-byte key, in `data_dir`, in at most `size_limit` bytes.

    Scores older than `ttl` seconds are misses (None: never). Where room runs out, those stored
    longest ago go first. `clock` gives Unix time in seconds.
    """

    def __init__(
        self,
        data_dir: Path,
        size_limit: int,
        ttl: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = data_dir / _FOLDER
        self._size_limit = size_limit
        self._ttl = ttl
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._cache: Any = None
        self._resting_until = -math.inf

    async def open(self) -> None:
        """Open the folder, making it where it is not there. Raises ConfigError where it cannot be.

        Only this user may enter the folder (mode 0700).
        """
        try:
            self._cache = await self._in_thread(self._open)
        except (*_FAILURES, AttributeError, TypeError, ValueError) as error:
            # The last three: diskcache met a database that it did not write.
            self._thread.shutdown(wait=False)
            fix = "give another folder, or delete this one: what is lost are stored scores"
            if "locked" in str(error):
                fix = "another process holds it locked; find that one, or give another folder"
            raise ConfigError(
                f"data_dir: the store in {self.folder} cannot be opened "
                f"({type(error).__name__}: {error}); {fix}"
            ) from None

    def _open(self) -> Any:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        _clear_settings(self.folder / diskcache.core.DBNAME)
        settings = diskcache.DEFAULT_SETTINGS | {
            "size_limit": self._size_limit - _LOG_ROOM,
            "sqlite_journal_size_limit": _LOG_ROOM // 2,
        }
        return diskcache.Cache(str(self.folder), timeout=_LOCK_WAIT, disk=_BytesDisk, **settings)

    async def close(self) -> None:
        """Finish what was asked before, and close."""
        if self._cache is not None:
            await self._in_thread(self._cache.close)
        self._thread.shutdown(wait=True)

    async def count(self) -> int:
        """Give the number of stored scores; 0 where the store cannot say."""
        return await self._guarded("count", lambda: len(self._cache), 0)

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Score]:
        """Give the scores that are stored under `keys`, without those that are not."""
        return await self._guarded("read", lambda: self._read(keys), {})

    async def write(self, scores: Mapping[bytes, Score]) -> None:
        """Store `scores`; when this returns they are committed, and survive the process's death.

        After a failure, which is logged, nothing is stored for a second.
        """
        if asyncio.get_running_loop().time() < self._resting_until:
            return
        entries = [(key, seal(key, score)) for key, score in scores.items()]
        for start in range(0, len(entries), _TRANSACTION):
            part = entries[start : start + _TRANSACTION]
            if not await self._guarded("write", partial(self._write, part), otherwise=False):
                self._resting_until = asyncio.get_running_loop().time() + _REST
                return

    def _read(self, keys: Sequence[bytes]) -> Mapping[bytes, Score]:
        get = self._cache.get
        oldest = 0 if self._ttl is None else self._clock() - self._ttl
        found: dict[bytes, Score] = {}
        for key in keys:
            if (data := get(key)) is None or (score := unseal(key, data)) is None:
                continue
            if score.scored_at >= oldest:
                found[key] = score
        return found

    def _write(self, entries: Iterable[tuple[bytes, bytes]]) -> bool:
        with self._cache.transact():
            for key, data in entries:
                self._cache.set(key, data)
        return True

    async def _guarded(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        try:
            return await self._in_thread(work)
        except _FAILURES as error:
            _log.warning("store failed", doing=what, error=f"{type(error).__name__}: {error}")
            return otherwise

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _clear_settings(database: Path) -> None:
    """Delete the settings that a database brings along: diskcache would obey all that it finds.

    Also finds out whether the database is locked, for which diskcache would wait a minute.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=_OPEN_WAIT, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone():
            db.execute(
                "DELETE FROM Settings WHERE key NOT IN ('count', 'size', 'hits', 'misses') "
                "OR typeof(value) != 'integer'"
            )
        db.execute("COMMIT")
