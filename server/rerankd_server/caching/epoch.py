"""The epoch: a mark that is another one whenever something that was stored is replaced or deleted.

By it each process invalidates what it has cached in memory.

All processes that use a store share it: eight bytes in a file, which each reads as often as it
looks into its memory. So what one has in memory is known to be out of date once another has stored
a newer score.

The file is read for each look and never mapped: to look at a mapped file that was cut kills the
process. It stays open, as to open it would take half of a look's 5 us. Its number and the time of
its last change are part of the epoch, too, so that a file that was replaced, or an old one that was
restored, is another epoch as well.
"""

import os
from contextlib import suppress
from pathlib import Path

from rerankd_server.caching.file_locks import HAS_LOCKS, words
from rerankd_server.condition import Condition

if HAS_LOCKS:
    import fcntl

_BYTES = 8
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# Neither what a link points to nor a pipe, for which opening would wait.
_PLAIN |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_TELLING = "tell other processes"


class Epoch:
    """The epoch of the store in `folder`. `condition` tells whether it can be shared."""

    def __init__(self, folder: Path, condition: Condition | None = None) -> None:
        self._file = folder / "epoch"
        self._path = str(self._file)
        self._condition = condition or Condition("cache")
        self._fd: int | None = None
        """The file, as long as it is open."""
        self._number = 0
        """That of the file that is open."""
        self._looks = 0

    @property
    def now(self) -> int:
        """The epoch. While it cannot be known, each look gives another one."""
        try:
            status = os.lstat(self._path)
            if self._fd is None or status.st_ino != self._number:
                self.close()
                self._fd = os.open(self._path, os.O_RDONLY | _PLAIN)
                status = os.fstat(self._fd)
                self._number = status.st_ino
            mark = _mark(self._fd, status)
        except OSError:
            return self._begun()
        return self._begun() if mark is None else mark

    def close(self) -> None:
        """Close the file, until the next look."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def advance(self) -> tuple[int, int]:
        """Begin another epoch; returns the one that ended with that, and the new one."""
        self.close()  # a file that is open cannot be renamed everywhere
        try:
            before, now = self._turn()
        except OSError:
            self._put_aside()
            try:
                before, now = self._turn()
            except OSError as error:
                self._condition.fails(_TELLING, words(error))
                return self._unknown(), self._unknown()
        self._condition.works(_TELLING)
        return before, now

    def _begun(self) -> int:
        """Begin an epoch where the file is gone, cut, or no file at all."""
        if not self._file.parent.is_dir():
            return self._unknown()
        return self.advance()[1]

    def _turn(self) -> tuple[int, int]:
        """Write another mark. Raises OSError, also where another process does so just now."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o600)
        try:
            if HAS_LOCKS:
                # It waits for nobody: who has the lock may stand still.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = _mark(fd, os.fstat(fd)) if HAS_LOCKS else None
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, os.urandom(_BYTES))
            now = _mark(fd, os.fstat(fd))
        finally:
            os.close(fd)
        return (
            self._unknown() if before is None else before,
            self._unknown() if now is None else now,
        )

    def _put_aside(self) -> None:
        """Rename whatever is in the place of the file: a folder, or one that another has locked.

        Who has it locked finds a new file in its place, and so another epoch than its own.
        """
        with suppress(OSError):
            self._file.replace(self._file.with_name("epoch-before"))

    def _unknown(self) -> int:
        """Return what no other look has given, or will."""
        self._looks += 1
        return -self._looks


def _mark(fd: int, status: os.stat_result) -> int | None:
    """Return what an open file stands for; None where it is cut."""
    content = _read(fd)
    if len(content) < _BYTES:
        return None
    return status.st_ino << 128 | status.st_ctime_ns << 64 | int.from_bytes(content, "big")


def _read(fd: int) -> bytes:
    if hasattr(os, "pread"):  # each system call lets other threads in between
        return os.pread(fd, _BYTES, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, _BYTES)
