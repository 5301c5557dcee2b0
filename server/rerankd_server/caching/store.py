"""The store: sealed scores on disk, by key.

Threads of its own do what may block, one that reads and one that writes, so that reading never
waits for writing. To hand a read to a thread and back takes half as long as the read, where the
operating system has the pages: few scores are read at once, as long as that is quick. A read that
fails is a miss and a write that fails loses only the saving, never the answer: the log says so
once, and the caller goes on. A database that is gone is begun anew, and one that is damaged is put
aside first.
"""

import asyncio
import math
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from rerankd_server.caching import database
from rerankd_server.caching.database import Database
from rerankd_server.caching.envelope import seal, unseal
from rerankd_server.caching.epoch import Epoch
from rerankd_server.caching.haste import Haste
from rerankd_server.condition import Condition
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.scorer import Finding

T = TypeVar("T")

_log = structlog.get_logger()

_LAYOUT, _VERSION = "scores-v", 1
"""The folder's name inside the data folder: another layout on disk gets another version."""
_REST = 1.0
"""Seconds without a try to write, or to open, after one that failed: each may wait for a lock."""
_FEW = 256
"""Most keys that are read at once: they take half a millisecond."""
_TRANSACTION = 256
"""Most scores in one transaction: what bounds the write-ahead log."""
SMALLEST_LIMIT = 4 * database.LOG_ROOM
"""The least size limit, bytes."""


class Store:
    """Scores by 32-byte key, in `data_dir`, in at most `size_limit` bytes.

    Scores older than `ttl` seconds are misses (None: never). Where room runs out, those stored
    longest ago go first. `clock` gives Unix time in seconds. `condition` tells what fails, and
    `haste` whether few scores are read at once.
    """

    def __init__(
        self,
        data_dir: Path,
        size_limit: int,
        ttl: float | None = None,
        clock: Callable[[], float] = time.time,
        haste: Haste | None = None,
    ) -> None:
        self.folder = data_dir / f"{_LAYOUT}{_VERSION}"
        self.epoch = Epoch(self.folder)
        self._file = self.folder / database.FILE_NAME
        self._inode = 0
        self._is_damaged = False
        self.condition = Condition("cache")
        self._size_limit = size_limit
        self._ttl = ttl
        self._clock = clock
        self._haste = haste or Haste()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._database: Database | None = None
        """While it is open."""
        self._no_opening_until = -math.inf
        self._no_writing_until = -math.inf

    async def open(self) -> None:
        """Open the store, making its folder where it is not there.

        Only this user may enter the folder (mode 0700). Raises ConfigError where it cannot be made.
        Where the database in it cannot be opened, that is tried again later.
        """
        try:
            await self._in(self._writer, self._make_folder)
        except OSError as error:
            self._end_threads()
            raise ConfigError(
                f"data_dir: {self.folder} cannot be used ({type(error).__name__}: {error}); "
                "give another folder"
            ) from None
        self._tell_of_newer()
        await self._reopened()

    async def close(self) -> None:
        """Finish what was asked before, and close."""
        await self._disconnect()
        self._end_threads()

    async def count(self) -> int:
        """Give the number of stored scores; 0 where the store cannot say."""
        return await self._guarded("read", self._reader, len, 0)

    def oldest(self) -> float:
        """Give the Unix time before which scores are misses."""
        return 0.0 if self._ttl is None else self._clock() - self._ttl

    def are_fresh(self, findings: Iterable[Finding]) -> bool:
        """Whether none of `findings` is too old."""
        oldest = self.oldest()
        return not oldest or all(finding.scored_at >= oldest for finding in findings)

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        """Give the scores that are stored under `keys`, without those that are not."""
        return await self._guarded("read", self._reader, partial(self._read, keys), {})

    def read_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding] | None:
        """Give the same without waiting, or None where that might take long, or fails."""
        if self._database is None or len(keys) > _FEW or not self._haste.is_wise:
            return None
        try:
            with self._haste.watched():
                found = self._read(keys, self._database)
        except database.FAILURES:
            return None  # `read` will meet it again, and do what has to be done
        self.condition.works("read")
        return found

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
            if not await self._guarded("write", self._writer, partial(self._write, part), False):
                self._no_writing_until = now() + _REST
                return

    async def purge(self) -> int | None:
        """Delete all scores, also from what other processes have in memory; gives how many.

        None where that fails; the log says why.
        """
        deleted = await self._guarded("write", self._writer, Database.purge, None)
        self.epoch.advance()
        return deleted

    def _read(self, keys: Sequence[bytes], opened: Database) -> Mapping[bytes, Finding]:
        oldest, wanted = self.oldest(), frozenset(keys)
        found: dict[bytes, Finding] = {}
        for key, value in opened.fetch(keys):
            if key in wanted and isinstance(value, bytes):
                finding = unseal(key, value)
                if finding is not None and finding.scored_at >= oldest:
                    found[key] = finding
        return found

    def _write(self, entries: Sequence[tuple[bytes, bytes]], opened: Database) -> bool:
        # SQLite would go on with a deleted file, and all would be lost in the end.
        if self._inode_now() != self._inode:
            raise FileNotFoundError("another database is in its place")
        opened.store(entries)
        return True

    async def _guarded(
        self, doing: str, thread: ThreadPoolExecutor, work: Callable[[Database], T], otherwise: T
    ) -> T:
        """Give what `work` does in `thread` with the open database, or `otherwise` if it fails."""
        if self._database is None and not await self._reopened():
            return otherwise
        try:
            result = await self._in(thread, partial(self._with_database, work))
        except database.FAILURES as error:
            self.condition.fails(doing, database.words(error))
            codes = database.codes(error)
            if isinstance(error, FileNotFoundError) or codes & database.GONE:
                self._is_damaged = self._is_damaged or bool(codes & database.DAMAGED)
                await self._disconnect()
            return otherwise
        if result is None:
            return otherwise
        self.condition.works("open")
        self.condition.works(doing)
        return result

    def _with_database(self, work: Callable[[Database], T]) -> T | None:
        """Give what `work` gives, or None where the database was closed meanwhile."""
        return None if self._database is None else work(self._database)

    async def _reopened(self) -> bool:
        """Open the database, where that was not tried just now. Gives whether it is open."""
        now = asyncio.get_running_loop().time()
        if now < self._no_opening_until:
            return False
        self._no_opening_until = now + _REST
        try:
            await self._in(self._writer, self._connect)
        except (*database.FAILURES, *database.ALIEN) as error:
            self.condition.fails("open", database.words(error))
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
            self._database = self._open()
        except (sqlite3.Error, *database.ALIEN) as error:
            damaged = database.DAMAGED | database.FOREIGN
            if isinstance(error, sqlite3.Error) and not database.codes(error) & damaged:
                raise
            if self._inode_now() == before:  # or another process was faster
                self._put_aside()
            self._database = self._open()
        self._inode = self._inode_now()
        self.epoch.open()

    async def _disconnect(self) -> None:
        opened, self._database = self._database, None
        if opened is not None:
            opened.close()  # each thread has its own connection
            for thread in (self._reader, self._writer):
                await self._in(thread, opened.close)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.folder.stat().st_mode) != 0o700:
            self.folder.chmod(0o700)

    def _open(self) -> Database:
        self._make_folder()
        return Database(self.folder, self._size_limit)

    def _tell_of_newer(self) -> None:
        """Say so where a later version has stored scores in another layout, beside ours."""
        beside = self.folder.parent.glob(f"{_LAYOUT}*")
        found = [path.name.removeprefix(_LAYOUT) for path in beside]
        if any(each.isdecimal() and int(each) > _VERSION for each in found):
            _log.warning(
                "a newer rerankd has stored scores here, which this one cannot read",
                data_dir=str(self.folder.parent),
                fix="run the newer one, or go on with the scores of this one alone",
            )

    def _inode_now(self) -> int:
        try:
            return int(self._file.stat().st_ino)
        except FileNotFoundError:
            return 0

    def _put_aside(self) -> None:
        """Rename the database, for whoever may mend it. One that was put aside before is lost."""
        name = self._file.name
        for part in ("", "-wal", "-shm"):
            old = self.folder / f"{name}{part}"
            new = self.folder / f"damaged-{name}{part}"
            if old.exists():
                old.replace(new)
            else:
                new.unlink(missing_ok=True)
        kept = str(self.folder / f"damaged-{name}")
        _log.warning("cache is damaged: a new one is begun", kept=kept)

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    def _end_threads(self) -> None:
        self._reader.shutdown()
        self._writer.shutdown()
