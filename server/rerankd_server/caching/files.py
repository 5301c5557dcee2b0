"""The database's files in the store's folder: whether they are still those that were opened.

SQLite would go on with files that were deleted or replaced, and what it stores there is lost in the
end. It maps the file `-shm` into memory: to look at a mapped file that was cut kills the process,
so such a file gets its length back first. SQLite then fills it anew, as all in it can be.
"""

import os
import stat
from pathlib import Path

import structlog

_log = structlog.get_logger()

_PARTS = ("", "-wal", "-shm")
_MAPPED = 32 << 10
"""Bytes that SQLite maps of the file `-shm` at a time."""


class Files:
    """Those of the database at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shared = str(path) + "-shm"
        self._database = 0
        self._shm = 0

    def note(self) -> None:
        """Note which files are there: they were just opened."""
        self._database = self.number()
        self._shm = _number_of(self._shared)

    def number(self) -> int:
        """Return the number of the database's file, or 0 where there is none."""
        return _number_of(str(self._path))

    def check(self) -> None:
        """See that it is still the same that readers go by. Raises OSError where it is not."""
        if not self._shm:  # where SQLite cannot map files, it does without
            return
        status = os.stat(self._shared)  # noqa: PTH116  # this is on the way of each read
        if status.st_ino != self._shm:
            raise FileNotFoundError("another file is in the place of cache.db-shm")
        if status.st_size < _MAPPED:
            os.truncate(self._shared, _MAPPED)

    def check_all(self) -> None:
        """See that nothing was replaced. Raises OSError where it was."""
        self.check()
        if not self.is_as_noted():
            raise FileNotFoundError("another database is in its place")

    def is_as_noted(self) -> bool:
        """Whether the database's file is still the one that was noted."""
        return self.number() == self._database

    def prepare(self) -> None:
        """Make the database's file, for its owner alone, and put aside what is no file."""
        for part in _PARTS:
            file = self._part(part)
            try:
                mode = file.lstat().st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode) or (part and not stat.S_ISREG(mode)):
                file.replace(self._aside(part))
            elif stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
                file.chmod(0o600)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))

    def put_aside(self) -> None:
        """Rename the database, for whoever may mend it. One that was put aside before is lost."""
        for part in _PARTS:
            old, new = self._part(part), self._aside(part)
            if old.exists():
                old.replace(new)
            else:
                new.unlink(missing_ok=True)
        _log.warning("cache is damaged: a new one is begun", kept=str(self._aside("")))

    def _part(self, part: str) -> Path:
        return self._path.with_name(self._path.name + part)

    def _aside(self, part: str) -> Path:
        return self._path.with_name(f"damaged-{self._path.name}{part}")


def _number_of(path: str) -> int:
    try:
        return int(os.stat(path).st_ino)  # noqa: PTH116  # this is on the way of each write
    except FileNotFoundError:
        return 0
