"""Single flight: a pair that is being bought is bought once, however many ask for it.

A flight is one pair on its way. A request joins a flight for each pair that it misses, and starts
those that there are none for. It asks the scorer for all whose call is not sent yet, as one
purchase: so a pair may stand in the queues of several purchases, and whichever comes to it first
sends the call; the others pass it over. So nobody waits behind another's queue. When a pair lands
it is stored, its flight is forgotten, and everyone who waits is told: the score, or the failure.

A purchase looks into the store once more before it asks the scorer, or a pair could be bought
twice: request A looks and finds nothing; flight B lands, stores the pair, and is forgotten; A looks
for a flight, finds none, and buys what is stored by now.

A flight belongs to nobody. Who leaves only stops waiting: what is sent is paid for, so it lands and
is stored; what is not sent yet and nobody waits for any more is dropped.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import structlog

from rerankd_server.caching.store import Store
from rerankd_server.errors import ShuttingDownError
from rerankd_server.logs import log_defect
from rerankd_server.scoring.scorer import (
    NOTHING_USED,
    Ask,
    CacheMode,
    Candidate,
    Score,
    Scorer,
    Source,
    Unscored,
    Usage,
)

_log = structlog.get_logger()


@dataclass(slots=True)
class Landing:
    """Pairs that landed together, as one of those who wait for them is told."""

    source: Source
    usage: Usage = NOTHING_USED
    scores: dict[bytes, Score] = field(default_factory=dict)
    unscored: dict[bytes, Unscored] = field(default_factory=dict)


_Waiter = asyncio.Queue[Landing | Exception]
"""Where one request is told of landings, or of the failure that ends it."""


@dataclass(slots=True, eq=False)
class _Flight:
    """One pair on its way."""

    waiting: set[_Waiter] = field(default_factory=set)
    sender: "_Purchase | None" = None
    """Whose call it is; None where none is sent yet."""
    over: bool = False
    """Whether it landed, or was dropped: it is of no more use."""


class Flights:
    """Buys pairs from `scorer` into `store`, each of them once at a time."""

    def __init__(self, scorer: Scorer, store: Store) -> None:
        self._scorer = scorer
        self._store = store
        self._in_flight: dict[bytes, _Flight] = {}
        self._purchases: dict[asyncio.Task[None], _Purchase] = {}

    async def land(
        self, ask: Ask, candidates: Mapping[bytes, Candidate]
    ) -> AsyncGenerator[Landing]:
        """Yield the outcome of each of `candidates`, which go by key, once it is stored."""
        # A refresh wants newer scores than those on their way, and a bypass wants its own.
        in_flight = self._in_flight if ask.cache_mode is CacheMode.READ_WRITE else {}
        waiter = _Waiter()
        flights = {key: in_flight.setdefault(key, _Flight()) for key in candidates}
        for flight in flights.values():
            flight.waiting.add(waiter)
        mine = {key: each for key, each in candidates.items() if flights[key].sender is None}
        if mine:
            purchase = _Purchase(in_flight, {key: flights[key] for key in mine}, waiter)
            buying = asyncio.create_task(self._buy(ask, mine, purchase))
            self._purchases[buying] = purchase
            buying.add_done_callback(self._purchases.pop)
        left = len(candidates)
        try:
            while left:
                landing = await waiter.get()
                if isinstance(landing, Exception):
                    raise landing
                left -= len(landing.scores) + len(landing.unscored)
                yield landing
        finally:
            for flight in flights.values():
                flight.waiting.discard(waiter)

    def dismiss(self) -> None:
        """Tell all who wait that the server shuts down; what is sent goes on, and is stored."""
        for purchase in list(self._purchases.values()):
            purchase.dismiss()

    async def drain(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._purchases:
            await asyncio.wait(self._purchases)

    async def give_up(self) -> None:
        """Cancel what is still on its way."""
        late = list(self._purchases)
        for buying in late:
            buying.cancel()
        if late:
            await asyncio.wait(late)
            _log.warning("calls given up at shutdown", requests=len(late))

    async def _buy(
        self, ask: Ask, missing: Mapping[bytes, Candidate], purchase: "_Purchase"
    ) -> None:
        """Bring every flight of `purchase` to its landing."""
        try:
            if ask.cache_mode is CacheMode.READ_WRITE:
                found = await self._store.read(list(missing))  # the second look
                purchase.land(Source.CACHE, found)
                missing = {key: each for key, each in missing.items() if key not in found}
            keys = list(missing)
            wanted = [
                replace(each, wanted=partial(purchase.claim, key)) for key, each in missing.items()
            ]
            async with aclosing(self._scorer.score(ask, wanted)) as scored:
                async for progress in scored:
                    scores = {keys[i]: score for i, score in progress.scores.items()}
                    unscored = {keys[i]: each for i, each in progress.unscored.items()}
                    if ask.cache_mode.writes:
                        await self._store.write(scores)
                    purchase.land(progress.source, scores, unscored, progress.usage)
            purchase.end()
        except asyncio.CancelledError:
            purchase.crash(ShuttingDownError())
            raise
        except Exception as error:  # noqa: BLE001  # raised where somebody waits
            purchase.crash(error)


class _Purchase:
    """What one request asks the scorer for: every flight it waits for that is not sent yet."""

    def __init__(
        self, in_flight: dict[bytes, _Flight], flights: dict[bytes, _Flight], owner: _Waiter
    ) -> None:
        self._in_flight = in_flight
        self._flights = flights
        self._owner = owner

    def claim(self, key: bytes) -> bool:
        """Whether to send the pair's call: somebody waits for it, and it is not sent by another."""
        flight = self._flights[key]
        if not self._may_end(flight):
            return False
        if not flight.waiting:
            self._end(key)
            return False
        flight.sender = self
        return True

    def land(
        self,
        source: Source,
        scores: Mapping[bytes, Score],
        unscored: Mapping[bytes, Unscored] = MappingProxyType({}),
        usage: Usage = NOTHING_USED,
    ) -> None:
        """Tell everyone who waits. The owner hears of `usage`; to the others it was shared."""
        landings: dict[_Waiter, Landing] = {}
        for key in (*scores, *unscored):
            for waiter in self._who_hears(key, found=key in scores):
                landing = landings.setdefault(waiter, Landing(source))
                if key in scores:
                    landing.scores[key] = scores[key]
                else:
                    landing.unscored[key] = unscored[key]
        for waiter, landing in landings.items():
            if source is Source.CACHE:
                landing.usage = Usage(cached_pairs=len(landing.scores))
            elif waiter is self._owner:
                landing.usage = usage
            else:
                landing.source = Source.SHARED
                landing.usage = Usage(
                    shared_pairs=len(landing.scores), unscored_pairs=len(landing.unscored)
                )
            waiter.put_nowait(landing)

    def end(self) -> None:
        """Nobody may be left waiting when the scorer has said all."""
        if any(flight.waiting and self._may_end(flight) for flight in self._flights.values()):
            self.crash(RuntimeError("a scorer passed over a candidate that was wanted"))

    def dismiss(self) -> None:
        """Tell all who wait that they wait in vain; what is sent goes on without them."""
        waiters = set[_Waiter]().union(*(flight.waiting for flight in self._flights.values()))
        for waiter in waiters:
            waiter.put_nowait(ShuttingDownError())
        for flight in self._flights.values():
            flight.waiting.clear()

    def crash(self, error: Exception) -> None:
        """Tell the owner, and all who wait for what was sent, that `error` ended it."""
        told = {waiter for key in self._flights for waiter in self._who_hears(key, found=False)}
        for waiter in told:
            waiter.put_nowait(error)
        if not told and not isinstance(error, ShuttingDownError):
            log_defect(error)

    def _who_hears(self, key: bytes, *, found: bool) -> Iterable[_Waiter]:
        """Give who is to be told of the outcome of `key`, and end the flight where it ends it.

        A score is everyone's, and so is the outcome of a call that was sent. A failure without a
        call, as when the key was rejected meanwhile, is the owner's alone: others may do better.
        """
        flight = self._flights[key]
        if not self._may_end(flight):
            return ()
        if found or flight.sender is self:
            self._end(key)
            return flight.waiting
        if self._owner not in flight.waiting:
            return ()
        flight.waiting.discard(self._owner)
        if not flight.waiting:
            self._end(key)
        return (self._owner,)

    def _may_end(self, flight: _Flight) -> bool:
        """Whether the flight is still on its way, and its call is not another purchase's."""
        return not flight.over and flight.sender in (None, self)

    def _end(self, key: bytes) -> None:
        """End a flight. Later ones of the same pair are not touched."""
        flight = self._flights[key]
        flight.over = True
        if self._in_flight.get(key) is flight:
            del self._in_flight[key]
