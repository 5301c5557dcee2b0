"""Pairs that another process is buying: watched until they are stored, or are left to us.

A purchase that comes to a pair and gets no lease of it passes it on to here. The flight stays one
that is not sent: whoever still has it in a queue may send it after all, and where nobody waits for
it any more it is dropped. When the pair is stored it lands for everyone; when the other process
gave up, or died, it is bought here.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rerankd_server.caching.leases import Lease, Leases, Look
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.purchase import Flight, Landing, Purchase, Waiter
from rerankd_server.clock import Clock
from rerankd_server.errors import ShuttingDownError
from rerankd_server.scoring.scorer import Ask, Candidate, Finding, Source, Usage

_INTERVAL = 0.025
"""Seconds between two looks."""
_PATIENCE = 60.0
"""Seconds after which a pair is bought without a lease: a process that stands still holds up
nobody for ever."""


@dataclass(slots=True)
class Errand:
    """Pairs of one request that are to be bought."""

    ask: Ask
    candidates: dict[bytes, Candidate]
    flights: dict[bytes, Flight]
    owner: Waiter


@dataclass(slots=True)
class _Watched:
    flight: Flight
    ask: Ask
    candidate: Candidate
    owner: Waiter
    """Who came to it last."""
    since: float
    landings: int = -1
    """Of its slot, as of the last look into the store; no number before the first."""


class Elsewhere:
    """Watches `memory`, with the store behind it, for what others buy; has `buy` buy the rest."""

    def __init__(
        self, leases: Leases, memory: Memory, buy: Callable[[Errand], object], clock: Clock
    ) -> None:
        self._leases = leases
        self._memory = memory
        self._buy = buy
        self._clock = clock
        self._watched: dict[bytes, _Watched] = {}
        self.task: asyncio.Task[None] | None = None
        """Watches, while there is something to be watched."""

    def look(self) -> Look:
        """See `Leases.look`."""
        return self._leases.look()

    def lease(
        self, look: Look, ask: Ask, candidates: Mapping[bytes, Candidate], purchase: Purchase
    ) -> Callable[[bytes], Lease | None]:
        """Give what leases the pairs of `purchase`, which has found none of them since `look`.

        It gives None for a pair that another process is buying, or has bought since: that is
        watched from then on.
        """

        def lease(key: bytes) -> Lease | None:
            flight, now = purchase.flights[key], self._clock.now()
            if self._is_overdue(key, flight):
                return look.without()
            if (leased := look.lease(key)) is None:
                self._watch(key, _Watched(flight, ask, candidates[key], purchase.owner, now))
            return leased

        return lease

    def dismiss(self) -> None:
        """Tell all who wait that the server shuts down."""
        self._tell(ShuttingDownError())

    def _is_overdue(self, key: bytes, flight: Flight) -> bool:
        """Whether the flight has been watched for long enough."""
        each = self._watched.get(key)
        if each is None or each.flight is not flight:
            return False
        return self._clock.now() - each.since >= _PATIENCE

    def _watch(self, key: bytes, watched: _Watched) -> None:
        before = self._watched.get(key)
        if before is not None and before.flight is watched.flight:
            watched.since = before.since
        self._watched[key] = watched
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._watched:
            try:
                await self._look_again()
            except Exception as error:  # noqa: BLE001  # raised where somebody waits
                self._tell(error)
            await self._clock.sleep(_INTERVAL)
            self._forget()

    async def _look_again(self) -> None:
        """Land what is stored by now, and have bought what nobody buys any more."""
        look = self._leases.look()
        free = {key for key in self._watched if look.is_free(key)}
        due = [
            key
            for key, each in self._watched.items()
            if key in free or look.landings(key) != each.landings
        ]
        self._land(await self._memory.read(due) if due else {})
        for key in due:
            if key in self._watched:
                self._watched[key].landings = look.landings(key)
        self._send(
            [
                key
                for key, each in self._watched.items()
                if key in free or self._is_overdue(key, each.flight)
            ]
        )

    def _land(self, stored: Mapping[bytes, Finding]) -> None:
        """Tell everyone who waits for what is stored."""
        self._forget()
        landings: dict[Waiter, Landing] = {}
        for key, finding in stored.items():
            if each := self._watched.pop(key, None):
                each.flight.end()
                for waiter in each.flight.waiting:
                    landing = landings.setdefault(waiter, Landing(Source.SHARED))
                    landing.found[key] = finding
        for waiter, landing in landings.items():
            landing.usage = Usage.had(Source.SHARED, landing.found.values())
            waiter.put_nowait(landing)

    def _send(self, keys: list[bytes]) -> None:
        """Have bought what stands in nobody's queue: of each request's pairs as one purchase."""
        errands: dict[tuple[int, Waiter], Errand] = {}
        for key in keys:
            each = self._watched[key]
            if each.flight.is_queued:
                continue
            waiting = each.flight.waiting
            owner = each.owner if each.owner in waiting else next(iter(waiting))
            errand = errands.setdefault((id(each.ask), owner), Errand(each.ask, {}, {}, owner))
            errand.candidates[key] = each.candidate
            errand.flights[key] = each.flight
        for errand in errands.values():
            self._buy(errand)

    def _forget(self) -> None:
        """Watch no more what has been sent, has landed, or was dropped."""
        over = [key for key, each in self._watched.items() if not each.flight.is_open]
        for key in over:
            del self._watched[key]

    def _tell(self, error: Exception) -> None:
        """Tell all who wait that `error` ended it: nobody may be left waiting."""
        for each in self._watched.values():
            for waiter in set(each.flight.waiting):
                waiter.put_nowait(error)
                each.flight.unawait(waiter)
