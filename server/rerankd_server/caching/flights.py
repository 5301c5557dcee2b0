"""Single flight: a pair that is being bought is bought once, however many ask for it.

A request joins a flight for each pair that it misses, and starts those that there are none for. It
asks the scorer for all whose call is not sent yet, as one purchase: see `purchase.py`.

What lands is what is stored, which may be another's score: see `entry.py`.

A purchase looks into the store once more before it asks the scorer, or a pair could be bought
twice: request A looks and finds nothing; flight B lands, stores the pair, and is forgotten; A looks
for a flight, finds none, and buys what is stored by now.

Processes that use one folder buy a pair once in the same way: who buys has a lease of it
(`leases.py`), and who gets none waits for the pair to be stored (`elsewhere.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import structlog

from rerankd_server.caching.elsewhere import Elsewhere, Errand
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.purchase import Flight, Landing, Purchase, Waiter
from rerankd_server.caching.refusals import Refusals
from rerankd_server.caching.room import Room
from rerankd_server.clock import Clock
from rerankd_server.errors import OverloadedError, ShuttingDownError
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Finding,
    Reason,
    Scorer,
    Source,
    Unscored,
    Usage,
)

_log = structlog.get_logger()


class Flights:
    """Buys pairs from `scorer` into `memory`, each of them once at a time.

    At most as many as `room` has places wait to be sent. With `leases`, what another process buys
    is not bought here.
    """

    def __init__(
        self,
        scorer: Scorer[Finding],
        memory: Memory,
        room: Room,
        leases: Leases | None = None,
        clock: Clock | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self.refusals = refusals or Refusals(0)
        """What was asked about in vain, not long ago."""
        self._scorer = scorer
        self._memory = memory
        self._room = room
        self._elsewhere = (
            Elsewhere(leases, memory, self._start, clock or Clock()) if leases else None
        )
        self._in_flight: dict[bytes, Flight] = {}
        self._purchases: set[Purchase] = set()
        self._is_dismissed = False
        self._looked_up: int | None = None
        """The revision, until the event loop has gone on."""

    async def land(
        self, ask: Ask, candidates: Mapping[bytes, Candidate]
    ) -> AsyncGenerator[Landing]:
        """Yield the outcome of each of `candidates`, which go by key, once it is stored.

        Where there is no room for those that nobody has asked for yet, none of these is bought.
        """
        if self._is_dismissed:
            raise ShuttingDownError
        # A refresh wants newer scores than those on their way, and a bypass wants its own.
        in_flight = self._in_flight if ask.cache_mode is CacheMode.READ_WRITE else {}
        waiter = Waiter()
        joined = self._joinable(candidates, in_flight)
        new = [key for key in candidates if key not in joined]
        if self._room.take(len(new), ask.caller):
            leave = partial(self._room.leave, ask.caller)
            started = {key: Flight(key, in_flight, leave) for key in new}
            in_flight.update(started)
            joined.update(started)
        else:
            waiter.put_nowait(self._refuse(new))
        # In the request's order, in which they are sent.
        flights = {key: joined[key] for key in candidates if key in joined}
        mine = {key: each for key, each in flights.items() if each.sender is None}
        for flight in flights.values():
            flight.waiting.add(waiter)
        if mine:
            missing = {key: candidates[key] for key in mine}
            purchase = self._start(Errand(ask, missing, mine, waiter))
        left = len(candidates)
        try:
            while left:
                landing = await waiter.get()
                if isinstance(landing, Exception):
                    raise landing
                left -= len(landing.found) + len(landing.unscored)
                yield landing
        finally:
            for flight in flights.values():
                flight.unawait(waiter)
            if mine:
                purchase.retire()

    def _joinable(
        self, keys: Iterable[bytes], in_flight: Mapping[bytes, Flight]
    ) -> dict[bytes, Flight]:
        """Give the flights of `keys` that may be joined: not those sent before a purge."""
        found = {key: flight for key in keys if (flight := in_flight.get(key))}
        if not any(flight.sender for flight in found.values()):
            return found
        floor = self._memory.standing().floor
        return {key: each for key, each in found.items() if not each.sender or each.since >= floor}

    def _start(self, errand: Errand) -> Purchase:
        purchase = Purchase(errand.flights, errand.owner, self._revision)
        purchase.task = asyncio.create_task(self._buy(errand.ask, errand.candidates, purchase))
        self._purchases.add(purchase)
        purchase.task.add_done_callback(lambda _: self._purchases.discard(purchase))
        return purchase

    def _revision(self) -> int:
        """Return the revision that calls go by which are sent now: one look for all of them."""
        if self._looked_up is None:
            self._looked_up = self._memory.standing().revision
            asyncio.get_running_loop().call_soon(self._look_again)
        return self._looked_up

    def _look_again(self) -> None:
        self._looked_up = None

    def _refuse(self, keys: Sequence[bytes]) -> Landing:
        error = OverloadedError(self._room.taken, self._room.seconds_until(len(keys)))
        unscored = Unscored(Reason.FAILED, error)
        usage = Usage(unscored_pairs=len(keys))
        return Landing(Source.MODEL, usage, unscored=dict.fromkeys(keys, unscored))

    def dismiss(self) -> None:
        """Tell all who wait that the server shuts down; what is sent goes on, and is stored."""
        self._is_dismissed = True
        for purchase in list(self._purchases):
            purchase.dismiss()
        if self._elsewhere:
            self._elsewhere.dismiss()

    async def drain(self) -> None:
        """Wait until nothing is on its way any more."""
        while tasks := self._under_way():
            await asyncio.wait(tasks)

    def _under_way(self) -> Sequence[asyncio.Task[None]]:
        tasks = [purchase.task for purchase in self._purchases]
        watching = self._elsewhere.task if self._elsewhere else None
        return [*tasks, watching] if watching and not watching.done() else tasks

    async def give_up(self) -> None:
        """Cancel what is still on its way."""
        late = [purchase.task for purchase in self._purchases]
        for buying in late:
            buying.cancel()
        if late:
            await asyncio.wait(late)
            _log.warning("calls given up at shutdown", requests=len(late))

    async def _buy(self, ask: Ask, missing: Mapping[bytes, Candidate], purchase: Purchase) -> None:
        """Bring every flight of `purchase` to its landing."""
        try:
            is_refresh = ask.cache_mode is CacheMode.REFRESH
            begun = await self._memory.hand_out() if is_refresh else self._revision()
            if ask.cache_mode is CacheMode.READ_WRITE:
                look = self._elsewhere.look() if self._elsewhere else None
                stored = await self._memory.read(list(missing))  # the second look
                ask.ages.extend(each.scored_at for each in stored.values())
                purchase.land(Source.CACHE, stored)
                missing = {key: each for key, each in missing.items() if key not in stored}
                if look and self._elsewhere:
                    look = look.of(missing)
                    purchase.lease = self._elsewhere.lease(look, ask, missing, purchase)
            keys = list(missing)
            asked = [
                each._replace(
                    wanted=partial(purchase.wants, key), claim=partial(purchase.claim, key)
                )
                for key, each in missing.items()
            ]
            async with aclosing(self._scorer.score(ask, asked)) as scored:
                async for progress in scored:
                    found = {keys[i]: finding for i, finding in progress.found.items()}
                    unscored = {keys[i]: each for i, each in progress.unscored.items()}
                    if ask.cache_mode.writes and found:
                        since = {key: max(begun, purchase.flights[key].since) for key in found}
                        found = dict(await self._memory.write(found, since, is_refresh=is_refresh))
                    self.refusals.forget(found)
                    self.refusals.note(unscored)
                    purchase.land(progress.source, found, unscored, progress.usage)
                    if purchase.left == 0:
                        return
            purchase.end()
        except asyncio.CancelledError:
            purchase.crash(ShuttingDownError())
            raise
        except Exception as error:  # noqa: BLE001  # raised where somebody waits
            purchase.crash(error)
        finally:
            purchase.lease = None  # it holds the purchase, too: no work for the garbage collector
