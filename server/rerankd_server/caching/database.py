"""The database: a table of bytes on disk, by 32-byte key. The only place that knows diskcache.

diskcache keeps the table, its size and what goes first when room runs out. What it does a row at a
time is done here for all rows of a call at once, which is five to ten times as fast. That leans on
what diskcache calls private: the members that `PRIVATE` names, and its tables' columns. A test
holds them, and pyproject.toml bounds the version.

Nothing read from disk is trusted. diskcache would unpickle rows that are marked so, and read or
delete files that rows name (CVE-2025-69872). `_NoDisk` does neither, and only rows of plain bytes
are read here, for `envelope.unseal` to check.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import diskcache

from rerankd_server.caching.entry import Decision, Row, Standing
from rerankd_server.caching.key import HALF

PRIVATE = ("_con", "_sql", "_transact", "_cull")
"""What is used here of diskcache's private members."""

FILE_NAME: str = diskcache.core.DBNAME
FAILURES = (sqlite3.Error, OSError, diskcache.Timeout)
"""What may go wrong with a database."""
ALIEN = (AttributeError, TypeError, ValueError)
"""What diskcache raises where it meets a database that it did not write."""
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
FOREIGN = {sqlite3.SQLITE_ERROR}
"""SQLite's codes for a database that does not come right by itself: damage, and other tables."""
GONE = {
    *DAMAGED,
    *FOREIGN,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY_DBMOVED,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
}
"""Those after which it has to be opened anew."""

Durability = Literal["process", "power"]
"""What a stored score survives: the end of the process, however it comes, or of the machine."""

_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
_LOCK_WAIT = 0.25
"""Seconds to wait for another process's transaction: all that it takes is a few milliseconds."""
_PATIENCE_MS = 10_000
"""Milliseconds that a purge waits for such."""
LOG_ROOM = 8 << 20
"""Bytes of the size limit kept free for SQLite's write-ahead log, which stands beside the data."""
_PAGES = 1024
"""Of 4 KiB, that each connection caches; the operating system caches them all, too."""
_MORE = 16
"""Rows read in vain at most, beside as many as are wanted, rather than each by its key."""
_SIZES = (1, 8, 64, 512)
"""Keys in one statement: few numbers, so that each is prepared once."""

_PLAIN = f"raw = 1 AND mode = {diskcache.core.MODE_RAW} AND filename IS NULL"
_RANGE = f"SELECT key, value FROM Cache WHERE key BETWEEN ? AND ? AND {_PLAIN} LIMIT ?"  # noqa: S608


def _each(columns: str) -> Mapping[int, str]:
    return {
        size: f"SELECT {columns} FROM Cache WHERE key IN ({'?,' * (size - 1)}?) AND {_PLAIN}"  # noqa: S608
        for size in _SIZES
    }


_EACH = _each("key, value")
_EACH_ROW = _each("key, value, access_count")
# Whole seconds, and no time of access, save 16 bytes a row. A row's count of accesses, which nobody
# counts, is the revision that its score went by.
_ADD = f"""
    INSERT INTO Cache (key, raw, store_time, access_time, access_count, size, mode, value)
    VALUES (?, 1, ?, 0, ?, 0, {diskcache.core.MODE_RAW}, ?)
    ON CONFLICT (key, raw) DO """  # noqa: S608
_ADD_NEW = f"{_ADD} NOTHING"
_STORE = f"""{_ADD} UPDATE SET store_time = excluded.store_time, expire_time = NULL,
    access_time = 0, access_count = excluded.access_count, tag = NULL, size = 0,
    mode = excluded.mode, filename = NULL, value = excluded.value
"""
_MOST_SECONDS = 1 << 53

# Our own table, of one row: what diskcache opens it writes anew, as it was a moment before.
_BEGIN = """
    CREATE TABLE IF NOT EXISTS Revision
    (only INTEGER PRIMARY KEY CHECK (only = 1), last INTEGER NOT NULL, purged INTEGER NOT NULL)
"""
_STANDING = "SELECT last, purged FROM Revision"
_NEWEST = "SELECT store_time FROM Cache ORDER BY store_time DESC LIMIT 1"
_STANDING_AND_NEWEST = f"SELECT last, purged, ({_NEWEST}) FROM Revision"  # noqa: S608
_HAND_OUT = "INSERT OR REPLACE INTO Revision VALUES (1, ?, ?)"
_MOST_REVISIONS = 1 << 62

_DELETE = """
    DELETE FROM Cache WHERE rowid IN (
        SELECT rowid FROM Cache WHERE (access_count BETWEEN ? AND ?) IS NOT TRUE LIMIT ?
    )
"""
_MOST_DELETED = 5_000
"""Rows deleted in one transaction: others wait for it to end."""


class _NoDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """What diskcache reads and deletes outside its table: nothing, whatever a row says."""

    def __init__(self, directory: str, **_settings: object) -> None:
        super().__init__(directory)

    def get(self, key: object, raw: object) -> object:
        raise OSError("refused to unpickle a stored key")

    def fetch(self, mode: object, filename: object, value: object, read: object) -> object:
        raise OSError("refused to unpickle a stored value")

    def remove(self, file_path: object) -> None:
        """Delete nothing: we never store a file, so a row that names one was planted."""


class Database(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """The table in `folder`, in at most `size_limit` bytes. Each thread has its own connection.

    The thread that makes it is the one that writes. Raises FAILURES or ALIEN, as do all methods.
    """

    def __init__(self, folder: Path, size_limit: int, durability: Durability = "process") -> None:
        _clear_settings(folder / FILE_NAME)
        settings = diskcache.DEFAULT_SETTINGS | {
            "size_limit": size_limit - LOG_ROOM,
            "sqlite_journal_size_limit": LOG_ROOM // 2,
            "sqlite_cache_size": _PAGES,
            "sqlite_mmap_size": 0,  # no faster here, and a file that is cut would kill the process
        }
        super().__init__(str(folder), timeout=_LOCK_WAIT, disk=_NoDisk, **settings)
        # Of this connection alone: diskcache's setting would be that of all who use the folder.
        self._sql(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        with self._transact() as (sql, _):
            sql(_BEGIN)
            sql("INSERT OR IGNORE INTO Revision VALUES (1, 0, 0)")

    def fetch(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, object]]:
        """Give the plain rows under `keys`, and maybe others.

        Keys of one query lie together. Where there are not many more, they are read in one go.
        """
        queries = {key[:HALF] for key in keys}
        if len(queries) == 1:
            ends = (min(keys), max(keys))
            most = 2 * len(keys) + _MORE
            rows: list[tuple[bytes, object]] = self._sql(_RANGE, (*ends, most)).fetchall()
            if len(rows) < most:
                return rows
        return self._by_key(keys, _EACH)

    def standing(self) -> Standing:
        """Return how far the revisions have come."""
        return _standing(self._sql(_STANDING).fetchall())

    def hand_out(self) -> int:
        """Return a revision that nobody had before."""
        with self._transact() as (sql, _):
            standing = self.standing()
            sql(_HAND_OUT, (standing.next, standing.floor))
        return standing.next

    def update(
        self,
        keys: Sequence[bytes],
        decide: Callable[[Mapping[bytes, Row], Standing], Decision],
        *,
        are_new: bool,
    ) -> Decision:
        """Write what `decide` chooses, who sees the rows under `keys`, in one transaction.

        `are_new` says that most likely there are none: they are looked for only if there are some,
        which is half of the work. As needed, what was stored longest ago goes.
        """
        with self._transact() as (sql, cleanup):
            standing, at = self._standing_and_time()
            decision = decide({}, standing) if are_new else None
            if decision is None or self._write(_ADD_NEW, at, decision) < len(decision.chosen):
                decision = decide(self._rows(keys, standing), standing)
                self._write(_STORE, at, decision)
            self._cull(at, sql, cleanup, limit=2 * len(keys))
        return decision

    def _rows(self, keys: Sequence[bytes], standing: Standing) -> Mapping[bytes, Row]:
        return {
            # None goes by a revision to come: such a row was planted, or its table was.
            key: Row(value, since if since < standing.next else 0)
            for key, value, since in self._by_key(keys, _EACH_ROW)
            if isinstance(value, bytes) and isinstance(since, int)
        }

    def _write(self, statement: str, at: int, decision: Decision) -> int:
        """Write what was chosen; gives how many rows that changed."""
        rows = [(key, at, row.since, row.value) for key, row in decision.chosen.items()]
        return int(self._con.executemany(statement, rows).rowcount) if rows else 0

    def begin_purge(self) -> int:
        """From here on, store nothing whose call was sent before; gives the purge's revision."""
        self._sql(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
        with self._transact() as (sql, _):
            floor = self.standing().next
            sql(_HAND_OUT, (floor, floor))
        return floor

    def purge(self) -> int:
        """Delete what was stored before `begin_purge`, some thousands at a time; gives how many."""
        deleted, more = 0, True
        while more:
            with self._transact() as (sql, _):
                standing = self.standing()
                ends = (standing.floor, standing.between)
                count = sql(_DELETE, (*ends, _MOST_DELETED)).rowcount
            deleted, more = deleted + count, count == _MOST_DELETED
        return deleted

    def _by_key(
        self, keys: Sequence[bytes], statements: Mapping[int, str]
    ) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), _SIZES[-1]):
            some = keys[start : start + _SIZES[-1]]
            size = next(size for size in _SIZES if size >= len(some))
            padding = (some[0],) * (size - len(some))
            rows += self._sql(statements[size], (*some, *padding))
        return rows

    def _standing_and_time(self) -> tuple[Standing, int]:
        """Return `standing`, and the time to store a row at.

        What is stored later goes later, whatever clocks say: that time is in whole Unix seconds,
        as long as the clock never goes back.
        """
        rows = self._sql(_STANDING_AND_NEWEST).fetchall()
        now = int(time.time())
        newest = rows[0][2] if rows else now
        if isinstance(newest, int | float) and now < newest < _MOST_SECONDS:
            now = int(newest)
        return _standing([row[:2] for row in rows]), now


def _standing(rows: Sequence[tuple[object, object]]) -> Standing:
    """Read the one row of our table; numbers that cannot be ours count as none."""
    found = rows[0] if rows else (0, 0)
    revision, floor = (n if isinstance(n, int) and 0 <= n < _MOST_REVISIONS else 0 for n in found)
    return Standing(revision, min(floor, revision))


def _clear_settings(database: Path) -> None:
    """Delete the settings that a database brings along: diskcache would obey all that it finds.

    Also finds out whether the database is locked, for which diskcache would wait a minute.
    """
    # An empty one is left to diskcache: how a file is to shrink is settled with its first page.
    if not database.exists() or not database.stat().st_size:
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
    """Give what went wrong at first.

    diskcache calls whatever SQLite says to a transaction a time-out, and rolls back what SQLite may
    have rolled back already.
    """
    hidden = error.__context__
    return hidden if isinstance(hidden, sqlite3.Error) else error


def codes(error: Exception) -> set[int]:
    """Give SQLite's code for the error, and the coarser one that it belongs to."""
    code = getattr(_cause(error), "sqlite_errorcode", None)
    return set() if code is None else {code, code & 0xFF}


def words(error: Exception) -> str:
    """Give the kind of the error, and what it says."""
    cause = _cause(error)
    return f"{type(cause).__name__}: {cause}"
