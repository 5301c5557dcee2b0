"""The store: sealed scores on disk, by key. The only place that knows diskcache.

One thread of its own does all that blocks. A read that fails is a miss and a write that fails loses
only the saving, never the answer: the log says so once, and the caller goes on. A database that is
gone is begun anew, and one that is damaged is put aside first.

Nothing read from disk is trusted. diskcache would unpickle rows that are marked so, and read or
delete files that rows name (CVE-2025-69872); `_BytesDisk` refuses both, and what is left is bytes
that must pass their checksum.
"""

import asyncio
import math
import sqlite3
import stat
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
from rerankd_server.condition import Condition
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.scorer import Finding

T = TypeVar("T")

_log = structlog.get_logger()

_FOLDER = "scores-v1"
"""The folder's name inside the data folder: another layout on disk gets another name."""
_LOCK_WAIT = 0.25
"""Seconds to wait for another process's transaction: all that it takes is a few milliseconds."""
_REST = 1.0
"""Seconds without a try to write, or to open, after one that failed: each may wait for a lock."""
_TRANSACTION = 256
"""Most scores in one transaction: what bounds the write-ahead log, and a reader's wait."""
_LOG_ROOM = 8 << 20
"""Bytes of the size limit kept free for SQLite's write-ahead log, which stands beside the data."""
SMALLEST_LIMIT = 4 * _LOG_ROOM
"""The least size limit, bytes."""

_FAILURES = (sqlite3.Error, OSError, diskcache.Timeout)
_ALIEN = (AttributeError, TypeError, ValueError)
"""What diskcache raises where it meets a database that it did not write."""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FOREIGN = {sqlite3.SQLITE_ERROR}
"""SQLite's codes for a database that does not come right by itself: damage, and other tables."""
_GONE = {
    *_DAMAGED,
    *_FOREIGN,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY_DBMOVED,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
}
"""Those after which it has to be opened anew."""


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
    longest ago go first. `clock` gives Unix time in seconds. `condition` tells what fails.
    """

    def __init__(
        self,
        data_dir: Path,
        size_limit: int,
        ttl: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = data_dir / _FOLDER
        self._database = self.folder / diskcache.core.DBNAME
        self._inode = 0
        self._is_damaged = False
        self.condition = Condition("cache")
        self._size_limit = size_limit
        self._ttl = ttl
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._cache: Any = None
        """diskcache's, while it is open."""
        self._no_opening_until = -math.inf
        self._no_writing_until = -math.inf

    async def open(self) -> None:
        """Open the store, making its folder where it is not there.

        Only this user may enter the folder (mode 0700). Raises ConfigError where it cannot be made.
        Where the database in it cannot be opened, that is tried again later.
        """
        try:
            await self._in_thread(self._make_folder)
        except OSError as error:
            self._thread.shutdown(wait=False)
            raise ConfigError(
                f"data_dir: {self.folder} cannot be used ({type(error).__name__}: {error}); "
                "give another folder"
            ) from None
        await self._reopened()

    async def close(self) -> None:
        """Finish what was asked before, and close."""
        await self._in_thread(self._disconnect)
        self._thread.shutdown(wait=True)

    async def count(self) -> int:
        """Give the number of stored scores; 0 where the store cannot say."""
        return await self._guarded("read", len, 0)

    def oldest(self) -> float:
        """Give the Unix time before which scores are misses."""
        return 0.0 if self._ttl is None else self._clock() - self._ttl

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        """Give the scores that are stored under `keys`, without those that are not."""
        return await self._guarded("read", partial(self._read, keys), {})

    async def write(self, scores: Mapping[bytes, Finding]) -> None:
        """Store `scores`; when this returns they are committed, and survive the process's death.

        After a failure nothing is stored for a second.
        """
        now = asyncio.get_running_loop().time
        if now() < self._no_writing_until:
            return
        entries = [(key, seal(key, score)) for key, score in scores.items()]
        for start in range(0, len(entries), _TRANSACTION):
            part = entries[start : start + _TRANSACTION]
            if not await self._guarded("write", partial(self._write, part), otherwise=False):
                self._no_writing_until = now() + _REST
                return

    def _read(self, keys: Sequence[bytes], cache: Any) -> Mapping[bytes, Finding]:
        oldest = self.oldest()
        found: dict[bytes, Finding] = {}
        for key in keys:
            if (data := cache.get(key)) is None or (score := unseal(key, data)) is None:
                continue
            if score.scored_at >= oldest:
                found[key] = score
        return found

    def _write(self, entries: Iterable[tuple[bytes, bytes]], cache: Any) -> bool:
        # SQLite would go on with a deleted file, and all would be lost in the end.
        if self._inode_now() != self._inode:
            raise FileNotFoundError("another database is in its place")
        with cache.transact():
            for key, data in entries:
                cache.set(key, data)
        return True

    async def _guarded(self, doing: str, work: Callable[[Any], T], otherwise: T) -> T:
        """Give what `work` gives for the open cache, or `otherwise` where that fails."""
        if self._cache is None and not await self._reopened():
            return otherwise
        try:
            result = await self._in_thread(partial(self._with_cache, work))
        except _FAILURES as error:
            self.condition.fails(doing, _words(error))
            if isinstance(error, FileNotFoundError) or _codes(error) & _GONE:
                self._is_damaged = self._is_damaged or bool(_codes(error) & _DAMAGED)
                await self._in_thread(self._disconnect)
            return otherwise
        if result is None:
            return otherwise
        self.condition.works("open")
        self.condition.works(doing)
        return result

    def _with_cache(self, work: Callable[[Any], T]) -> T | None:
        """Give what `work` gives, or None where the cache was closed meanwhile."""
        return None if self._cache is None else work(self._cache)

    async def _reopened(self) -> bool:
        """Open the database, where that was not tried just now. Gives whether it is open."""
        now = asyncio.get_running_loop().time()
        if now < self._no_opening_until:
            return False
        self._no_opening_until = now + _REST
        try:
            await self._in_thread(self._connect)
        except (*_FAILURES, *_ALIEN) as error:
            self.condition.fails("open", _words(error))
            return False
        self.condition.works("open")
        self._no_opening_until = -math.inf
        return True

    def _connect(self) -> None:
        if self._is_damaged and self._inode_now() == self._inode:
            self._put_aside()
        self._is_damaged = False
        before = self._inode_now()
        try:
            self._cache = self._open()
        except (sqlite3.Error, *_ALIEN) as error:
            if isinstance(error, sqlite3.Error) and not _codes(error) & (_DAMAGED | _FOREIGN):
                raise
            if self._inode_now() == before:  # or another process was faster
                self._put_aside()
            self._cache = self._open()
        self._inode = self._inode_now()

    def _disconnect(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.folder.stat().st_mode) != 0o700:
            self.folder.chmod(0o700)

    def _open(self) -> Any:
        self._make_folder()
        _clear_settings(self._database)
        settings = diskcache.DEFAULT_SETTINGS | {
            "size_limit": self._size_limit - _LOG_ROOM,
            "sqlite_journal_size_limit": _LOG_ROOM // 2,
        }
        return diskcache.Cache(str(self.folder), timeout=_LOCK_WAIT, disk=_BytesDisk, **settings)

    def _inode_now(self) -> int:
        try:
            return int(self._database.stat().st_ino)
        except FileNotFoundError:
            return 0

    def _put_aside(self) -> None:
        """Rename the database, for whoever may mend it. One that was put aside before is lost."""
        name = self._database.name
        for part in ("", "-wal", "-shm"):
            old = self.folder / f"{name}{part}"
            new = self.folder / f"damaged-{name}{part}"
            if old.exists():
                old.replace(new)
            else:
                new.unlink(missing_ok=True)
        kept = str(self.folder / f"damaged-{name}")
        _log.warning("cache is damaged: a new one is begun", kept=kept)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _clear_settings(database: Path) -> None:
    """Delete the settings that a database brings along: diskcache would obey all that it finds.

    Also finds out whether the database is locked, for which diskcache would wait a minute.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=_LOCK_WAIT, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone():
            db.execute(
                "DELETE FROM Settings WHERE key NOT IN ('count', 'size', 'hits', 'misses') "
                "OR typeof(value) != 'integer'"
            )
        db.execute("COMMIT")


def _cause(error: Exception) -> Exception:
    """Give what went wrong: diskcache calls whatever SQLite says to a transaction a time-out."""
    hidden = error.__context__
    if isinstance(error, diskcache.Timeout) and isinstance(hidden, sqlite3.Error):
        return hidden
    return error


def _codes(error: Exception) -> set[int]:
    """Give SQLite's code for the error, and the coarser one that it belongs to."""
    code = getattr(_cause(error), "sqlite_errorcode", None)
    return set() if code is None else {code, code & 0xFF}


def _words(error: Exception) -> str:
    cause = _cause(error)
    return f"{type(cause).__name__}: {cause}"
