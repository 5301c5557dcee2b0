"""Leases: what one process is buying, no other that uses the same folder buys meanwhile.

A key's slot is 16 bits of it, and a byte of a file that all processes share. A lease of the pair is
a lock on that byte. The kernel takes it from a process that ends, however it ends, so nobody waits
for the dead.

The byte itself counts (modulo 256) the leases of its slot that were given back, which is done after
the pair is stored. Who wants to buy reads it before the look into the store, and again once it has
the lock: where it changed, the pair may have been stored since that look, and a lease is refused.

Locks and looks cost a microsecond or two each. Where the file cannot be used, pairs are bought
without leases.
"""

import os
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rerankd_server.caching.file_locks import HAS_LOCKS, words
from rerankd_server.condition import Condition

if HAS_LOCKS:
    import fcntl

_SLOTS = 1 << 16
_TAKING, _ENDING = "lease", "end a lease"


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many leases were given back until some time, by slot: by all, and by this process."""

    total: bytes
    own: bytes

    def foreign(self, slot: int) -> int:
        """Give how many others have given back, modulo 256."""
        return (self.total[slot] - self.own[slot]) & 0xFF


@dataclass(frozen=True, slots=True)
class _Few:
    """The same of some slots alone."""

    by_slot: Mapping[int, int]

    def foreign(self, slot: int) -> int:
        """Give how many others have given back, modulo 256."""
        return self.by_slot[slot]


_NOTHING = _Counts(bytes(_SLOTS), bytes(_SLOTS))


class Leases:
    """The leases of all who use the file at `path`, which is made where it is not there.

    `condition` tells whether it can be used.
    """

    def __init__(self, path: Path, condition: Condition | None = None) -> None:
        self._path = path
        self._condition = condition or Condition("cache")
        self._book: _Book | None = None

    def look(self) -> "Look":
        """Note what was given back until now: to be done before a look into the store."""
        if not HAS_LOCKS:
            return Look(None, _NOTHING, self._condition)
        try:
            book = self._opened()
            look = Look(book, book.counts(), self._condition)
        except OSError as error:
            self._condition.fails(_TAKING, words(error))
            return Look(None, _NOTHING, self._condition)
        self._condition.works(_TAKING)
        return look

    def close(self) -> None:
        """Forget the file; leases that are still out can be given back."""
        self._book = None

    def _opened(self) -> "_Book":
        # To open it twice would not do: to close one of the two would drop all locks.
        if self._book is None or not self._book.is_at(self._path):
            self._book = _Book(self._path)
        return self._book


class Lease:
    """Leave to buy a pair, until it is given back."""

    def __init__(self, book: "_Book | None", slot: int, condition: Condition) -> None:
        self._book = book
        self._slot = slot
        self._condition = condition

    def give_back(self) -> None:
        """Let others buy the pair, or find it: what was bought is stored by now."""
        book, self._book = self._book, None
        if book is None:
            return
        try:
            book.give_back(self._slot)
        except OSError as error:
            self._condition.fails(_ENDING, words(error))
        else:
            self._condition.works(_ENDING)


class Look:
    """What was given back by others until some time; without a `book` there are no leases."""

    def __init__(self, book: "_Book | None", counts: _Counts | _Few, condition: Condition) -> None:
        self._book = book
        self._counts = counts
        self._condition = condition

    def of(self, keys: Iterable[bytes]) -> "Look":
        """Give the same of these pairs alone: to be kept, for a look at all slots takes 128 KiB."""
        slots = {_slot(key) for key in keys}
        few = _Few({slot: self._counts.foreign(slot) for slot in slots})
        return Look(self._book, few, self._condition)

    def landings(self, key: bytes) -> int:
        """Give how many leases of the pair's slot others had given back, modulo 256."""
        return self._counts.foreign(_slot(key))

    def lease(self, key: bytes) -> Lease | None:
        """Give a lease of the pair, or None: another has it, or has given it back since."""
        slot = _slot(key)
        if self._book is None:
            return self.without()
        try:
            is_leased = self._book.take(slot, self._counts.foreign(slot))
        except OSError as error:
            self._condition.fails(_TAKING, words(error))
            return self.without()
        return Lease(self._book, slot, self._condition) if is_leased else None

    def without(self) -> Lease:
        """Give what stands in for a lease where there is none to be had."""
        return Lease(None, 0, self._condition)

    def is_free(self, key: bytes) -> bool:
        """Whether no other process has a lease of the pair."""
        try:
            return self._book is None or self._book.is_free(_slot(key))
        except OSError as error:
            self._condition.fails(_TAKING, words(error))
            return True


class _Book:
    """The file, opened. Whatever it lacks counts as zeros."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._fd)
        status = os.fstat(self._fd)
        if status.st_size < _SLOTS:  # a hole would not do: the disk might be full when it is filled
            os.pwrite(self._fd, bytes(_SLOTS - status.st_size), status.st_size)
        self._place = (status.st_dev, status.st_ino)
        self._holders: Counter[int] = Counter()
        """Leases of this process by slot: to it, the kernel gives a lock any number of times."""
        self._own = bytearray(_SLOTS)
        """What this process has given back: it knows of its own pairs without looking."""

    def is_at(self, path: Path) -> bool:
        """Whether it is still the file at `path`."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._place

    def counts(self) -> _Counts:
        """Give what was given back until now."""
        total = os.pread(self._fd, _SLOTS, 0)
        return _Counts(total.ljust(_SLOTS, b"\0"), bytes(self._own))

    def take(self, slot: int, foreign: int) -> bool:
        """Take a lease, unless another has one, or others gave back more than these `foreign`."""
        if not self._lock(slot):
            return False
        try:
            is_as_it_was = (self._count(slot) - self._own[slot]) & 0xFF == foreign
        except OSError:
            self._unlock(slot)
            raise
        if not is_as_it_was:
            self._unlock(slot)
        return is_as_it_was

    def give_back(self, slot: int) -> None:
        """Count a lease that is given back, and let go of it."""
        try:
            os.pwrite(self._fd, bytes([(self._count(slot) + 1) & 0xFF]), slot)
            self._own[slot] = (self._own[slot] + 1) & 0xFF
        finally:
            self._unlock(slot)

    def is_free(self, slot: int) -> bool:
        """Whether no other process has a lease."""
        if not self._lock(slot):
            return False
        self._unlock(slot)
        return True

    def _count(self, slot: int) -> int:
        byte = os.pread(self._fd, 1, slot)
        return byte[0] if byte else 0

    def _lock(self, slot: int) -> bool:
        if not self._holders[slot]:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except (BlockingIOError, PermissionError):  # either, as the platform likes
                return False
        self._holders[slot] += 1
        return True

    def _unlock(self, slot: int) -> None:
        self._holders[slot] -= 1
        if not self._holders[slot]:
            del self._holders[slot]
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, slot)


def _slot(key: bytes) -> int:
    return int.from_bytes(key[-2:], "big")
