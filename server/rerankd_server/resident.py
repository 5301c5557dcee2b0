"""The memory that this process has in use, and giving back what it has freed."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PAGES = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Return the bytes of memory in use; None where the system does not tell."""
    try:
        return int(_PAGES.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def give_back() -> None:
    """Have the C library return freed memory to the system, where it can: some milliseconds."""
    if _TRIM is not None:
        _TRIM(0)


def _trim() -> Callable[[int], Any] | None:
    """Return glibc's `malloc_trim`, which other C libraries do without."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


_TRIM = _trim()
