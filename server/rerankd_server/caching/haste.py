"""Whether to wait for the disk where all other calls wait, too: only as long as it is quick."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_QUICK = 0.002
"""Seconds to wait at most: rows that the operating system has in memory take a tenth of that."""
_SHARE = 100
"""After a longer wait there is none for so many times as long."""


class Haste:
    """Watches what is done in haste. `now` gives the time, `ran` for how long this thread ran."""

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        ran: Callable[[], float] = time.thread_time,
    ) -> None:
        self._now = now
        self._ran = ran
        self._not_before = now()

    @property
    def is_wise(self) -> bool:
        """Whether it was quick lately."""
        return self._now() >= self._not_before

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take note of how long the body waits: of the time in which it does not run."""
        began, ran = self._now(), self._ran()
        try:
            yield
        finally:
            waited = self._now() - began - (self._ran() - ran)
            if waited > _QUICK:
                self._not_before = self._now() + _SHARE * waited
