"""Reads requests as they arrive, within a budget of memory and of time.

gRPC reads a message whole, tells nothing of it before, and cannot be told to wait. But all that
comes in at once is bounded by what the machine can take in, so what has only just begun to arrive
is free. What takes longer is looked at every few milliseconds: if by the process's memory all of it
takes more than it may, those that came last are refused; so is what does not end.
"""

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple

import grpc
from rerankd_server.api.admission import Admission
from rerankd_server.api.status import Context
from rerankd_server.clock import Clock, Handle
from rerankd_server.errors import RerankdError, ServerBusyError
from rerankd_server.resident import resident_bytes

_PAUSE = 0.005
"""Seconds between two looks: in it come some ten megabytes."""
_FRESH = 1.0
"""Seconds for which the memory counts as known."""


class Arrivals:
    """Reads messages of at most `largest` bytes, each in at most `time_limit` seconds.

    `memory` gives the bytes that this process has in use, or None where nobody knows: then as many
    may take long as surely fit.
    """

    def __init__(
        self,
        admission: Admission,
        largest: int,
        time_limit: float,
        clock: Clock | None = None,
        memory: Callable[[], int | None] = resident_bytes,
    ) -> None:
        self._admission = admission
        self._largest = largest
        self._time_limit = time_limit
        self._clock = clock or Clock()
        self._memory = memory
        self._under_way: dict[asyncio.Task[object], _Arrival] = {}
        """By the task that reads, the oldest first."""
        self._next_look: Handle | None = None
        self._before = _Before()

    async def read(self, context: Context) -> bytes | None:
        """Return the next message of a call, as it came; None where none comes any more.

        Raises ServerBusyError where it takes more memory, or longer, than it may.
        """
        task = asyncio.current_task()
        assert task is not None
        now = self._clock.now()
        arrival = self._under_way[task] = _Arrival(now)
        if self._next_look is None:
            self._remember(now)
            self._next_look = self._clock.later(_PAUSE, self._look)
        try:
            data = await context.read()
        except asyncio.CancelledError:
            if arrival.refusal is None or task.uncancel():
                raise
            raise arrival.refusal from None
        finally:
            del self._under_way[task]
        return None if data is grpc.aio.EOF else data

    def _look(self) -> None:
        """Refuse what takes too much, or too long."""
        self._next_look = None
        now = self._clock.now()
        slow = {
            task: each
            for task, each in self._under_way.items()
            if now - each.at >= _PAUSE and each.refusal is None
        }
        if self._under_way:
            self._next_look = self._clock.later(_PAUSE, self._look)
        if not slow:
            self._remember(now)
            return
        for task, each in slow.items():
            if now - each.at >= self._time_limit:
                each.refuse(task, self._too_slow())
        for task in [*slow][self._most() :]:
            slow[task].refuse(task, self._admission.full())

    def _remember(self, now: float) -> None:
        """Note how things stand while nothing takes long; to look takes some microseconds."""
        if now - self._before.at > _FRESH:
            self._before = _Before(now, self._memory(), self._admission.held)

    def _most(self) -> int:
        """Return how many messages may go on to arrive; at least one."""
        room = self._admission.max_bytes - self._admission.held
        surely = max(1, room // self._largest)
        memory, before = self._memory(), self._before
        if memory is None or before.memory is None:
            return surely
        # What was freed since is taken up by those that arrive.
        freed = max(0, before.held - self._admission.held)
        taken = memory - before.memory + freed
        self._admission.note(taken)
        return surely if taken > room else len(self._under_way)

    def _too_slow(self) -> ServerBusyError:
        return ServerBusyError(
            f"the request did not arrive as a whole within {self._time_limit:g} s; send fewer "
            "documents at once, or raise `message_timeout` on the server"
        )


class _Arrival:
    """One message on its way."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.refusal: RerankdError | None = None

    def refuse(self, task: asyncio.Task[object], error: RerankdError) -> None:
        """Have the task that reads it end with `error`."""
        if self.refusal is None:
            self.refusal = error
            task.cancel()


class _Before(NamedTuple):
    """How things stood before any message took long."""

    at: float = -math.inf
    memory: int | None = None
    held: int = 0
