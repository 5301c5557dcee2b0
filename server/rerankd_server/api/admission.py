"""Admission control: how many calls are taken at once, and how much memory they take.

Half of the memory is for requests as they come, and half for what large ones become while they are
answered. What has no room is refused at once, by an error that says when to come again; a large
request that is here waits until there is room to answer it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rerankd_server.clock import Clock
from rerankd_server.errors import ServerBusyError, ShuttingDownError
from rerankd_server.resident import give_back

_SMALL = 4 << 10
"""Bytes: what takes no more is always admitted, so that health checks come through."""
_PATIENCE = 30.0
"""Seconds for which a request that is here waits for room."""
_MUCH = 32 << 20
"""Bytes: after so many, freed memory is given back to the system."""
_LOOK, _MOST_LOOKS = 0.002, 25
"""Seconds without a call that are waited for in the end, and how often."""
_AFTER = 0.5
"""Seconds later: by then all is freed, also what was on its way to the caller."""


class Admission:
    """Admits at most `max_calls` calls, and requests that take at most `max_bytes` of memory.

    What comes alone is always admitted.
    """

    def __init__(
        self,
        max_bytes: int,
        max_calls: int,
        clock: Clock | None = None,
        give_back: Callable[[], None] = give_back,
    ) -> None:
        self.max_bytes = max_bytes
        self._max_calls = max_calls
        self.calls = 0
        """How many are under way."""
        self.asked = 0
        """How many calls have come, refused ones too."""
        self._is_closed = False
        self._requests = 0
        """Bytes that requests take as they came."""
        self._work = 0
        """Bytes that large ones take while they are answered."""
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Those who wait for room to be answered, and for how much."""
        self._peak = 0
        """Most bytes held since memory was given back."""
        self._clock = clock or Clock()
        self._give_back = give_back

    @property
    def held(self) -> int:
        """Bytes of memory that are taken."""
        return self._requests + self._work

    def begin(self) -> None:
        """Take a call in, until `end`. Raises ServerBusyError or ShuttingDownError."""
        self.asked += 1
        if self._is_closed:
            raise ShuttingDownError
        if self.calls >= self._max_calls:
            raise ServerBusyError(
                f"{self.calls:,} calls are under way already; call again later, or raise "
                "`max_calls` on the server"
            )
        self.calls += 1

    def end(self) -> None:
        """Count a call that `begin` took in as answered."""
        self.calls -= 1

    async def close(self) -> None:
        """Refuse all calls from here on; returns when none comes, or after a moment.

        What gRPC has taken in when its server stops, and nobody has seen, would be cancelled.
        """
        self._is_closed = True
        for _ in range(_MOST_LOOKS):
            before = self.asked
            await self._clock.sleep(_LOOK)
            if self.asked == before:
                return

    @contextmanager
    def request(self, memory: int) -> Iterator[None]:
        """Hold room for a request of `memory` bytes. Raises ServerBusyError."""
        self.take(memory)
        try:
            yield
        finally:
            self.give(memory)

    def take(self, memory: int) -> None:
        """Take room for a request of `memory` bytes, until `give`. Raises ServerBusyError."""
        if memory > _SMALL and self._requests and not self._fits(self._requests + memory):
            raise self.full()
        self._requests += memory
        self.note(self._requests)

    def give(self, memory: int) -> None:
        """Give back room that `take` has taken."""
        self._requests -= memory
        if self._peak >= _MUCH:
            self._end_large()

    async def work(self, memory: int) -> None:
        """Take room for the `memory` bytes that a large request becomes, once there is some.

        Whoever takes it has to call `worked`. Raises ServerBusyError where there is none for long.
        """
        if not self._queue and self._is_room_to_work(memory):
            self._begin_work(memory)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((memory, place))
        refusal = self._clock.later(_PATIENCE, lambda: self._give_up(place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.worked(memory)
            raise
        finally:
            refusal.cancel()

    def worked(self, memory: int) -> None:
        """Give back room that `work` has taken."""
        self._work -= memory
        while self._queue:
            more, place = self._queue[0]
            if place.done():  # it has left
                self._queue.popleft()
            elif self._is_room_to_work(more):
                self._queue.popleft()
                self._begin_work(more)
                place.set_result(None)
            else:
                break
        self._end_large()

    def full(self) -> ServerBusyError:
        """Return what is said to a request for which there is no room."""
        return ServerBusyError(
            "requests under way take as much memory as they may; call again later, send fewer "
            "documents at once, or raise `max_bytes_in_flight` on the server"
        )

    def note(self, memory: int) -> None:
        """Note that so many bytes are taken, by what is admitted or by what is on its way here."""
        self._peak = max(self._peak, memory)

    def _is_room_to_work(self, memory: int) -> bool:
        return not self._work or self._fits(self._work + memory)

    def _begin_work(self, memory: int) -> None:
        self._work += memory
        self.note(self.held)

    def _fits(self, memory: int) -> bool:
        return memory <= self.max_bytes // 2

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            place.set_exception(self.full())

    def _end_large(self) -> None:
        """Give memory back after large requests; the C library would keep some of it."""
        if self._peak >= _MUCH and not self.held:
            self._peak = 0
            self._clock.later(_AFTER, self._return_memory)

    def _return_memory(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._give_back)
