"""The store: sealed scores on disk, by key.

Threads of its own do what may block, one that reads and one that writes, so that reading never
waits for writing. To hand a read to a thread and back takes half as long as the read, where the
operating system has the pages: few scores are read at once, as long as that is quick. A read that
fails is a miss. A score that cannot be written waits until it can be (`outbox.py`): the log says so
once, and the caller goes on. A database that is gone is begun anew, and one that is damaged is put
aside first.
"""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from rerankd_server.caching import database
from rerankd_server.caching.database import Database, Durability
from rerankd_server.caching.entry import Decision, Entry, Outcome, Standing, decide
from rerankd_server.caching.envelope import seal, unseal
from rerankd_server.caching.epoch import Epoch
from rerankd_server.caching.files import Files
from rerankd_server.caching.folder import UnsafeFolderError, network_file_system, prepare
from rerankd_server.caching.freshness import Freshness
from rerankd_server.caching.haste import Haste
from rerankd_server.caching.outbox import Outbox
from rerankd_server.condition import Condition
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.scorer import Finding

T = TypeVar("T")

_log = structlog.get_logger()

_LAYOUT, _VERSION = "scores-v", 1
"""The folder's name inside the data folder: another layout on disk gets another version."""
_REST = 1.0
"""Seconds without a try to open after one that failed: each may wait for a lock."""
_FEW = 256
"""Most keys that are read at once: they take half a millisecond."""
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
        durability: Durability = "process",
    ) -> None:
        self.folder = data_dir / f"{_LAYOUT}{_VERSION}"
        self.condition = Condition("cache")
        self.epoch = Epoch(self.folder, self.condition)
        self.freshness = Freshness(ttl, clock)
        self._files = Files(self.folder / database.FILE_NAME)
        self._is_damaged = False
        self._size_limit = size_limit
        self._durability = durability
        self._haste = haste or Haste()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._database: Database | None = None
        """While it is open."""
        self._no_opening_until = -math.inf
        self._outbox = Outbox(self._commit, self._settle)
        self._watcher: Callable[[Outcome, tuple[int, int] | None], None] = _nobody
        self._standing = Standing()
        self._standing_at: int | None = None
        """The epoch in which that was read."""

    @property
    def waiting(self) -> int:
        """How many scores wait to be stored after a try that failed."""
        return self._outbox.waiting

    @property
    def lost(self) -> int:
        """How many scores were never stored, as too many waited, or too long."""
        return self._outbox.lost

    def watch(self, watcher: Callable[[Outcome, tuple[int, int] | None], None]) -> None:
        """Have `watcher` called, in order, with what is stored or waits to be under some keys.

        Where that replaced something, with the epoch that it ended and the one that it began.
        """
        self._watcher = watcher

    async def open(self) -> None:
        """Open the store, making its folder where it is not there.

        Only this user may enter the folder (mode 0700). Raises ConfigError where it cannot be made,
        or is not this user's. Where the database in it cannot be opened, that is tried again later.
        """
        try:
            await self._in(self._writer, partial(prepare, self.folder))
        except UnsafeFolderError as error:
            self._end_threads()
            raise ConfigError(f"data_dir: {error}") from None
        except OSError as error:
            self._end_threads()
            raise ConfigError(
                f"data_dir: {self.folder} cannot be used ({type(error).__name__}: {error}); "
                "give another folder"
            ) from None
        self._tell_of_newer()
        self._tell_of_network()
        await self._reopened()

    async def close(self) -> None:
        """Finish what was asked before, and close."""
        await self._outbox.close()
        await self._disconnect()
        self.epoch.close()
        self._end_threads()

    async def count(self) -> int:
        """Give the number of stored scores; 0 where the store cannot say."""
        return await self._guarded("read", self._reader, len, 0)

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        """Give the scores that are stored under `keys`, without those that are not."""
        nothing: Mapping[bytes, Finding] = {}
        stored = await self._guarded("read", self._reader, partial(self._read, keys), nothing)
        return self._outbox.overlay(keys, stored)

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
        return self._outbox.overlay(keys, found)

    def standing(self) -> Standing:
        """Return what a call goes by that is sent now: see `entry.py`.

        All that has returned, of whatever process, is known to it. After each change of the epoch
        that takes a look at one row, also where the disk was slow lately: who went by an older
        revision would buy in vain after a purge.
        """
        epoch = self.epoch.now
        if epoch != self._standing_at and self._database is not None:
            try:
                self._standing = self._database.standing()
            except database.FAILURES:
                return self._standing  # `read` will meet it again
            self._standing_at = epoch
        return self._standing

    async def hand_out(self) -> int:
        """Return a revision that nobody had before, for a request for fresh scores.

        Where the store cannot hand one out, that is the one between the last and the next.
        """
        revision = None
        if not self._outbox.waiting:
            revision = await self._guarded("write", self._writer, Database.hand_out, None)
        if revision is not None:
            return revision
        self._standing_at = None  # another process may have been handed some
        return self.standing().between

    async def write(
        self,
        scores: Mapping[bytes, Finding],
        since: Mapping[bytes, int] | None = None,
        *,
        is_refresh: bool = False,
    ) -> Outcome:
        """Store `scores`, unless others win over them: see `entry.py`.

        `since` gives the revision that each one's call went by; without it they are as of now.
        Gives what is stored under each key when this returns, committed, so that it survives the
        process's death; or what waits to be, after a try that failed. None under a key whose score
        was purged before it could be stored.
        """
        now = self.standing().revision if since is None else 0
        entries = {
            key: Entry(score, seal(key, score), since[key] if since else now, is_refresh)
            for key, score in scores.items()
        }
        return await self._outbox.store(entries)

    async def purge(self) -> int | None:
        """Delete all scores, also from what other processes have in memory; gives how many.

        None where that fails; the log says why.
        """
        begun = await self._guarded("write", self._writer, Database.begin_purge, None)
        self.epoch.advance()
        if begun is None:
            return None
        deleted = await self._guarded("write", self._writer, Database.purge, None)
        self.epoch.advance()
        return deleted

    async def _commit(self, entries: Mapping[bytes, Entry]) -> Decision | None:
        work = partial(self._write, entries)
        return await self._guarded("write", self._writer, work, None)

    def _settle(self, outcome: Outcome, has_replaced: bool) -> None:
        """Tell other processes, and who watches, of what is stored."""
        self._watcher(outcome, self.epoch.advance() if has_replaced else None)

    def _write(self, entries: Mapping[bytes, Entry], opened: Database) -> Decision:
        self._files.check_all()
        return opened.update(
            list(entries),
            lambda rows, standing: decide(entries, rows, standing, self.freshness.is_fresh),
            are_new=not any(entry.is_refresh for entry in entries.values()),
        )

    def _read(self, keys: Sequence[bytes], opened: Database) -> Mapping[bytes, Finding]:
        self._files.check()
        wanted = frozenset(keys)
        found: dict[bytes, Finding] = {}
        for key, value in opened.fetch(keys):
            if key in wanted and isinstance(value, bytes):
                finding = unseal(key, value)
                if finding is not None:
                    found[key] = finding
        return self.freshness.among(found)

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
            self._standing = await self._in(self._writer, self._connect)
        except (*database.FAILURES, *database.ALIEN) as error:
            self.condition.fails("open", database.words(error))
            return False
        self.condition.works("open")
        self._no_opening_until = -math.inf
        return True

    def _connect(self) -> Standing:
        if self._is_damaged and self._files.is_as_noted():
            self._files.put_aside()
        self._is_damaged = False
        before = self._files.number()
        try:
            opened = self._open()
        except (sqlite3.Error, *database.ALIEN) as error:
            damaged = database.DAMAGED | database.FOREIGN
            if isinstance(error, sqlite3.Error) and not database.codes(error) & damaged:
                raise
            if self._files.number() == before:  # or another process was faster
                self._files.put_aside()
            opened = self._open()
        standing = opened.standing()
        self._files.note()
        self._database = opened
        return standing

    async def _disconnect(self) -> None:
        opened, self._database = self._database, None
        if opened is not None:
            with suppress(OSError):
                self._files.check()  # closing looks at the mapped file, too
            opened.close()  # each thread has its own connection
            for thread in (self._reader, self._writer):
                await self._in(thread, opened.close)

    def _open(self) -> Database:
        prepare(self.folder)
        self._files.prepare()
        return Database(self.folder, self._size_limit, self._durability)

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

    def _tell_of_network(self) -> None:
        """Say so where the folder lies on a network file system."""
        if kind := network_file_system(self.folder):
            _log.warning(
                "the data folder is on a network file system, where SQLite may lose scores",
                data_dir=str(self.folder.parent),
                file_system=kind,
                fix="set data_dir to a folder on a local disk",
            )

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    def _end_threads(self) -> None:
        self._reader.shutdown()
        self._writer.shutdown()


def _nobody(_outcome: Outcome, _turn: tuple[int, int] | None) -> None:
    pass
