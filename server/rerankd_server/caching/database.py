"""The database: a table of bytes on disk, by 32-byte key. The only place that knows diskcache.

diskcache keeps the table, its size and what goes first when room runs out. What it does a row at a
time is done here for all rows of a call at once, which is five to ten times as fast.

Nothing read from disk is trusted. diskcache would unpickle rows that are marked so, and read or
delete files that rows name (CVE-2025-69872). `_NoDisk` does neither, and only rows of plain bytes
are read here, for `envelope.unseal` to check.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import diskcache

from rerankd_server.caching.key import HALF

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

_LOCK_WAIT = 0.25
"""Seconds to wait for another process's transaction: all that it takes is a few milliseconds."""
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
_EACH = {
    size: f"SELECT key, value FROM Cache WHERE key IN ({'?,' * (size - 1)}?) AND {_PLAIN}"  # noqa: S608
    for size in _SIZES
}
# Whole seconds, and no time of access, save 16 bytes a row.
_STORE = f"""
    INSERT INTO Cache (key, raw, store_time, access_time, size, mode, value)
    VALUES (?, 1, ?, 0, 0, {diskcache.core.MODE_RAW}, ?)
    ON CONFLICT (key, raw) DO UPDATE SET store_time = excluded.store_time, expire_time = NULL,
    access_time = 0, tag = NULL, size = 0, mode = excluded.mode, filename = NULL,
    value = excluded.value
"""  # noqa: S608

_DELETE = "DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache WHERE rowid <= ? LIMIT ?)"
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

    Raises FAILURES or ALIEN, as do all methods.
    """

    def __init__(self, folder: Path, size_limit: int) -> None:
        _clear_settings(folder / FILE_NAME)
        settings = diskcache.DEFAULT_SETTINGS | {
            "size_limit": size_limit - LOG_ROOM,
            "sqlite_journal_size_limit": LOG_ROOM // 2,
            "sqlite_cache_size": _PAGES,
            "sqlite_mmap_size": 0,  # no faster here, and a file that is cut would kill the process
        }
        super().__init__(str(folder), timeout=_LOCK_WAIT, disk=_NoDisk, **settings)

    def fetch(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, object]]:
        """Give the plain rows under `keys`, and maybe others.

        Keys of one query lie together. Where there are not many more, they are read in one go.
        """
        queries = {key[:HALF] for key in keys}
        if len(queries) == 1:
            query = queries.pop()
            ends = (query + b"\x00" * HALF, query + b"\xff" * HALF)
            most = 2 * len(keys) + _MORE
            rows: list[tuple[bytes, object]] = self._sql(_RANGE, (*ends, most)).fetchall()
            if len(rows) < most:
                return rows
        rows = []
        for start in range(0, len(keys), _SIZES[-1]):
            some = keys[start : start + _SIZES[-1]]
            size = next(size for size in _SIZES if size >= len(some))
            padding = (some[0],) * (size - len(some))
            rows += self._sql(_EACH[size], (*some, *padding))
        return rows

    def store(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Store `entries` of keys and values in one transaction; as needed, the oldest go."""
        now = time.time()
        with self._transact() as (sql, cleanup):
            self._con.executemany(_STORE, [(key, int(now), value) for key, value in entries])
            self._cull(now, sql, cleanup, limit=2 * len(entries))

    def purge(self) -> int:
        """Delete all rows that there are by now, and give how many, some thousands at a time."""
        ((last,),) = self._sql("SELECT coalesce(max(rowid), 0) FROM Cache").fetchall()
        deleted, more = 0, True
        while more:
            with self._transact() as (sql, _):
                count = sql(_DELETE, (last, _MOST_DELETED)).rowcount
            deleted, more = deleted + count, count == _MOST_DELETED
        return deleted


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
