"""Clocks for tests, where time passes at once or when it is told to; and letting all else run."""

import asyncio
from collections.abc import Callable

from rerankd_server.clock import Clock, Handle


class FastClock(Clock):
    """Notes each wait in `pauses`, and puts the time forward by it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def later(self, seconds: float, call: Callable[[], None]) -> Handle:
        self._pass(seconds)
        return asyncio.get_running_loop().call_soon(call)

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self._pass(seconds)
        await asyncio.sleep(0)

    def _pass(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


class SetClock(Clock):
    """Stands still until `advance`, which calls what is due."""

    def __init__(self) -> None:
        self.time = 0.0
        self._due: dict[_Call, Callable[[], None]] = {}

    def now(self) -> float:
        return self.time

    def later(self, seconds: float, call: Callable[[], None]) -> Handle:
        handle = _Call(self.time + seconds, self._due)
        self._due[handle] = call
        return handle

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        self.later(seconds, over.set)
        await over.wait()

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while due := [each for each in self._due if each.at <= end]:
            first = min(due, key=lambda each: each.at)
            self.time = max(self.time, first.at)
            self._due.pop(first)()
        self.time = end


class _Call:
    def __init__(self, at: float, due: "dict[_Call, Callable[[], None]]") -> None:
        self.at = at
        self._due = due

    def cancel(self) -> None:
        self._due.pop(self, None)


async def settle() -> None:
    """Let everything that can run now run, where nothing waits for time."""
    for _ in range(100):
        await asyncio.sleep(0)
