"""What one request asks the scorer for, and what becomes of it: flights, purchases and landings.

A flight is one pair on its way; a purchase is all that one request asks the scorer for. A pair may
stand in the queues of several purchases, and whichever comes to it first sends the call; the others
pass it over. So nobody waits behind another's queue. Nor does anybody behind another process's: a
pair is leased only when its turn comes, and one that is being bought elsewhere is passed over too;
see `elsewhere.py`. When a pair lands its flight is forgotten, and everyone who waits is told: the
score, or the failure.

A flight belongs to nobody. Who leaves only stops waiting: what is sent is paid for, so it lands and
is stored; what is not sent yet and nobody waits for any more is dropped. A purchase ends when it
has nothing left to send or to land.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from rerankd_server.caching.leases import Lease
from rerankd_server.errors import ShuttingDownError
from rerankd_server.logs import log_defect
from rerankd_server.scoring.scorer import NOTHING_USED, Finding, Source, Unscored, Usage


@dataclass(slots=True)
class Landing:
    """Pairs that landed together, as one of those who wait for them is told."""

    source: Source
    usage: Usage = NOTHING_USED
    found: dict[bytes, Finding] = field(default_factory=dict)
    unscored: dict[bytes, Unscored] = field(default_factory=dict)


Waiter = asyncio.Queue[Landing | Exception]
"""Where one request is told of landings, or of the failure that ends it."""


class Flight:
    """One pair on its way, registered in `in_flight`; it calls `leave_room` once it is sent."""

    def __init__(
        self, key: bytes, in_flight: "dict[bytes, Flight]", leave_room: Callable[[], None]
    ) -> None:
        self.waiting: set[Waiter] = set()
        self.sender: Purchase | None = None
        """Whose call it is; None where none is sent yet, and once it is over."""
        self.since = 0
        """The revision that the call goes by: see `entry.py`."""
        self._key = key
        self._in_flight = in_flight
        self._leave_room = leave_room
        self._purchases: set[Purchase] = set()
        """Those that may still send it, or have."""
        self._lease: Lease | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is neither sent nor over."""
        return self.sender is None and self._in_flight.get(self._key) is self

    @property
    def is_queued(self) -> bool:
        """Whether some purchase may still send it, or has."""
        return bool(self._purchases)

    def offer(self, purchase: "Purchase") -> None:
        """Let `purchase` send it."""
        self._purchases.add(purchase)

    def is_held_by(self, purchase: "Purchase") -> bool:
        """Whether it is on its way still, and `purchase` may send it, or has."""
        return purchase in self._purchases

    def send(self, purchase: "Purchase", lease: Lease | None = None) -> None:
        """Note that `purchase` sends the call, so no other does; `lease` ends with it."""
        if self.sender is None:
            self.sender = purchase
            self._lease = lease
            self._leave_room()
            for other in self._purchases - {purchase}:
                self.leave(other)

    def leave(self, purchase: "Purchase") -> None:
        """Note that `purchase` has no more to do with it."""
        if purchase in self._purchases:
            self._purchases.discard(purchase)
            purchase.be_rid_of_one()

    def unawait(self, *waiters: Waiter) -> None:
        """Note that these wait no more. Where nobody does, and no call is sent, it is dropped."""
        self.waiting.difference_update(waiters)
        is_over = self._in_flight.get(self._key) is not self
        if not self.waiting and self.sender is None and not is_over:
            self.end()

    def end(self) -> None:
        """Be over: it landed, or was dropped, and a later one of the same pair may follow."""
        if self.sender is None:
            self._leave_room()
        if self._lease is not None:
            self._lease.give_back()
        self.sender = None
        if self._in_flight.get(self._key) is self:
            del self._in_flight[self._key]
        for purchase in list(self._purchases):
            self.leave(purchase)


class Purchase:
    """What one request asks the scorer for: every flight it waits for that is not sent yet."""

    task: asyncio.Task[None]

    def __init__(
        self, flights: Mapping[bytes, Flight], owner: Waiter, revision: Callable[[], int]
    ) -> None:
        self.flights = flights
        self.owner = owner
        self.revision = revision
        """Gives the one that a call goes by which is sent now."""
        self.lease: Callable[[bytes], Lease | None] | None = None
        """Leases a pair; None for one that another process buys. Without it, none is asked for."""
        self.left = len(flights)
        """Flights that it may still send, or has sent."""
        for flight in flights.values():
            flight.offer(self)

    def claim(self, key: bytes) -> bool:
        """Whether to send the pair's call, which is this purchase's from here on if so."""
        if not self.wants(key):
            return False
        flight = self.flights[key]
        if flight.sender is None:  # else it is another attempt
            lease = None
            if self.lease is not None and (lease := self.lease(key)) is None:
                flight.leave(self)
                return False
            flight.send(self, lease)
        flight.since = self.revision()
        return True

    def wants(self, key: bytes) -> bool:
        """Whether the pair's call is this purchase's to send, and somebody waits for it.

        Where all have left between two attempts, there is no other.
        """
        flight = self.flights[key]
        if not flight.is_held_by(self):
            return False
        if not flight.waiting:
            flight.end()
            return False
        return True

    def land(
        self,
        source: Source,
        found: Mapping[bytes, Finding],
        unscored: Mapping[bytes, Unscored] = MappingProxyType({}),
        usage: Usage = NOTHING_USED,
    ) -> None:
        """Tell everyone who waits. The owner hears of `usage`; to the others it was shared."""
        # The owner hears of what was spent also where another call has to follow.
        landings = {self.owner: Landing(source)} if usage != NOTHING_USED else {}
        for key in (*found, *unscored):
            for waiter in self._who_hears(key, found=key in found):
                landing = landings.setdefault(waiter, Landing(source))
                if key in found:
                    landing.found[key] = found[key]
                else:
                    landing.unscored[key] = unscored[key]
        for waiter, landing in landings.items():
            if source is Source.CACHE:
                landing.usage = Usage.had(source, landing.found.values())
            elif waiter is self.owner:
                # What others have sent meanwhile is no failure of the owner's.
                landing.usage = replace(usage, unscored_pairs=len(landing.unscored))
            else:
                landing.source = Source.SHARED
                landing.usage = Usage.had(Source.SHARED, landing.found.values()) + Usage(
                    unscored_pairs=len(landing.unscored)
                )
            waiter.put_nowait(landing)

    def retire(self) -> None:
        """Send no more, now that its owner has left: whoever else waits has a purchase too."""
        for flight in self.flights.values():
            if flight.sender is None:
                flight.leave(self)

    def be_rid_of_one(self) -> None:
        """Count a flight that it has no more to do with; end with the last."""
        self.left -= 1
        if self.left == 0 and self.task is not asyncio.current_task():
            self.task.cancel()

    def end(self) -> None:
        """Nobody may be left waiting when the scorer has said all."""
        if any(flight.waiting and flight.is_held_by(self) for flight in self.flights.values()):
            self.crash(RuntimeError("a scorer passed over a candidate that was wanted"))

    def dismiss(self) -> None:
        """Tell all who wait that they wait in vain; what is sent goes on without them."""
        waiters = set[Waiter]().union(*(flight.waiting for flight in self.flights.values()))
        for waiter in waiters:
            waiter.put_nowait(ShuttingDownError())
        for flight in self.flights.values():
            flight.unawait(*flight.waiting)

    def crash(self, error: Exception) -> None:
        """Tell the owner, and all who wait for what was sent, that `error` ended it."""
        told = {waiter for key in self.flights for waiter in self._who_hears(key, found=False)}
        for waiter in told:
            waiter.put_nowait(error)
        if not told and not isinstance(error, ShuttingDownError):
            log_defect(error)

    def _who_hears(self, key: bytes, *, found: bool) -> Iterable[Waiter]:
        """Give who is to be told of the outcome of `key`, and end the flight where it ends it.

        A score is everyone's, and so is the outcome of a call that was sent. A failure without a
        call, as when the key was rejected meanwhile, is the owner's alone: others may do better.
        """
        flight = self.flights[key]
        if not flight.is_held_by(self):
            return ()
        if found or flight.sender is self:
            flight.end()
            return flight.waiting
        flight.leave(self)
        if self.owner not in flight.waiting:
            return ()
        flight.unawait(self.owner)
        return (self.owner,)
