"""What may wait a little: pieces of work that would hold up calls that need none of it."""

import asyncio
from collections import deque
from collections.abc import Callable

from rerankd_server.clock import Clock

_PAUSE = 0.002
"""Seconds from one piece to the next, where there are others to be let through: a piece takes about
half of that. (A call comes back to the event loop some five times before it is answered.)"""
_WHILE = 0.1
"""Seconds for which calls are expected after the last one."""


class Background:
    """Gives the event loop to one piece of work at a time, first come first served.

    What else is to be done comes between; and more than that while calls are answered at once.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_under_way = False
        self._let_through_until = 0.0

    def make_way(self) -> None:
        """Note that a call was answered that waited for nothing: more may follow."""
        self._let_through_until = self._clock.now() + _WHILE

    def soon(self, piece: Callable[[], None]) -> None:
        """Have `piece` called when it is its turn."""
        self._waiting.append(piece)
        if not self._is_under_way:
            self._is_under_way = True
            asyncio.get_running_loop().call_soon(self._go_on)

    async def turn(self) -> None:
        """Return when it is the caller's turn."""
        turn = asyncio.get_running_loop().create_future()
        self.soon(lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _go_on(self) -> None:
        """Do what is next, and come back: also with nothing to do, for the pause is due then."""
        if not self._waiting:
            self._is_under_way = False
            return
        self._waiting.popleft()()
        if self._clock.now() < self._let_through_until:
            self._clock.later(_PAUSE, self._go_on)
        else:
            asyncio.get_running_loop().call_soon(self._go_on)
