"""Work that would hold up all calls: done in a thread, while the event loop goes on.

Python runs one thread at a time, but has them take turns (see `SWITCH`). Nothing that is done here
may hold Python for long in one piece. What has to be done on the event loop, since others see it,
is done in pieces of a millisecond or two, and takes turns with all that does so.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rerankd_server.background import Background

T = TypeVar("T")

MANY = 1_000
"""Documents beyond which what is done for all of them is done here: it takes milliseconds."""
SWITCH = 0.0005
"""Seconds after which a thread that works lets the event loop go on, where that has to: Python's
own 5 ms are due several times in a call."""


class OffLoop:
    """Does one piece of work at a time, first come first served.

    Pieces on the event loop take their turns in `background`.
    """

    def __init__(self, background: Background | None = None) -> None:
        self._background = background or Background()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="off-loop")

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def turn(self) -> None:
        """Return when it is the caller's turn to do a piece of work on the event loop."""
        await self._background.turn()

    def close(self) -> None:
        """Let no more work come."""
        self._thread.shutdown(wait=False)
