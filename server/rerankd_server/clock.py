"""Time, as whatever waits sees it. Tests give a clock of their own, whose time passes at once."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    """Something that will be called, unless it is cancelled before."""

    def cancel(self) -> None:
        """Call it no more."""


class Clock:
    """The event loop's time, in seconds from any origin; it never goes back."""

    def now(self) -> float:
        """Give the time."""
        return asyncio.get_running_loop().time()

    def later(self, seconds: float, call: Callable[[], None]) -> Handle:
        """Have `call` called after `seconds`."""
        return asyncio.get_running_loop().call_later(seconds, call)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
