"""Scores on their way to the database: a write-behind queue with group commit.

They are committed in the order in which they came. What comes while one transaction runs goes into
the next. Whoever brings scores waits until they are
committed, or until it turns out that they cannot be, as the database is locked or full: then they
wait here. They are tried again every while, with those that came since, and once more at the end.
What waits is bounded; beyond that, what has waited longest is lost, and counted.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

import structlog

from rerankd_server.caching.entry import Decision, Entry, Outcome
from rerankd_server.clock import Clock
from rerankd_server.scoring.scorer import Finding

_log = structlog.get_logger()

_TRANSACTION = 256
"""Most scores in one transaction: what bounds the write-ahead log."""
_PAUSE = 0.2
"""Seconds between two tries."""
_LAST_TRIES = 5.0
"""Seconds in which what still waits is tried at the end."""
_MOST_BYTES = 64 << 20
_ENTRY = 600
"""Bytes that one entry takes beside its sealed value, as measured."""

Found = Mapping[bytes, Finding]


class Outbox:
    """Has entries stored by `commit`, which gives None where they cannot be for now.

    `settled` is told, in order, what is stored or is about to be, and whether others may have
    something else in memory.
    """

    def __init__(
        self,
        commit: Callable[[Mapping[bytes, Entry]], Awaitable[Decision | None]],
        settled: Callable[[Outcome, bool], None],
        clock: Clock | None = None,
        limit: int = _MOST_BYTES,
    ) -> None:
        self.lost = 0
        """How many scores were never stored."""
        self._commit = commit
        self._settled = settled
        self._clock = clock or Clock()
        self._limit = limit
        self._arrived: deque[_Parcel] = deque()
        self._waiting: dict[bytes, Entry] = {}
        self._bytes = 0
        """Of those that wait."""
        self._stored_late = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many scores wait after a try that failed."""
        return len(self._waiting)

    def overlay(self, keys: Sequence[bytes], stored: Found) -> Found:
        """Return what is `stored` under `keys` with what is about to be."""
        if not self._waiting:
            return stored
        both = dict(stored)
        for key in keys:
            entry = self._waiting.get(key)
            if entry is not None and (entry.is_refresh or key not in both):
                both[key] = entry.finding
        return both

    async def store(self, entries: Mapping[bytes, Entry]) -> Outcome:
        """Have `entries` stored; gives what is stored in the end, or waits to be."""
        if self._waiting:
            self._run_on()
            return self._keep(entries)
        items = list(entries.items())
        parcels = [
            _Parcel(dict(items[start : start + _TRANSACTION]))
            for start in range(0, len(items), _TRANSACTION)
        ]
        self._arrived.extend(parcels)
        self._run_on()
        if len(parcels) == 1:
            return await parcels[0].outcome
        outcome: dict[bytes, Finding | None] = {}
        for part in await asyncio.gather(*(parcel.outcome for parcel in parcels)):
            outcome.update(part)
        return outcome

    async def close(self) -> None:
        """Have stored what is on its way, trying for some seconds."""
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=_LAST_TRIES)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._waiting:
            self.lost += len(self._waiting)
            _log.warning("scores could not be stored", lost=self.lost)
            self._waiting.clear()

    def _run_on(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._arrived or self._waiting:
            if self._waiting:
                await self._try_again()
            else:
                await self._send()

    async def _send(self) -> None:
        """Commit what has arrived, as much as goes into one transaction."""
        parcels = [self._arrived.popleft()]
        entries = dict(parcels[0].entries)
        while self._arrived and self._arrived[0].fits(entries):
            parcels.append(self._arrived.popleft())
            entries.update(parcels[-1].entries)
        try:
            committed = await self._commit(entries)
        except Exception as error:  # noqa: BLE001  # raised where somebody waits
            for parcel in parcels:
                parcel.fail(error)
            return
        if committed is not None:
            self._settled(committed.outcome, committed.has_replaced)
            for parcel in parcels:
                parcel.tell(committed.outcome)
            return
        # Nobody else need wait for the same to be found out.
        parcels += self._arrived
        self._arrived.clear()
        for parcel in parcels:
            parcel.tell(self._keep(parcel.entries))

    async def _try_again(self) -> None:
        """Commit some of what waits."""
        entries = dict(islice(self._waiting.items(), _TRANSACTION))
        committed = await self._commit(entries)
        if committed is None:
            await self._clock.sleep(_PAUSE)
            return
        outcome, has_replaced = committed.outcome, committed.has_replaced
        for key, entry in entries.items():
            has_replaced = has_replaced or outcome[key] != entry.finding
            if self._waiting.get(key) is entry:
                self._drop(key)
        self._settled(outcome, has_replaced)
        self._stored_late += len(entries)
        if not self._waiting:
            _log.info("scores that waited are stored", scores=self._stored_late, lost=self.lost)
            self._stored_late = 0

    def _keep(self, entries: Mapping[bytes, Entry]) -> Found:
        """Let `entries` wait; gives what does under their keys."""
        kept = {}
        for key, entry in entries.items():
            before = self._waiting.get(key)
            if before is None or entry.replaces(before.since):
                self._drop(key)
                self._waiting[key] = entry
                self._bytes += _size(entry)
            kept[key] = self._waiting[key].finding
        while self._bytes > self._limit:
            self._drop(next(iter(self._waiting)))
            self.lost += 1
        self._settled(kept, any(entry.is_refresh for entry in entries.values()))
        return kept

    def _drop(self, key: bytes) -> None:
        entry = self._waiting.pop(key, None)
        if entry is not None:
            self._bytes -= _size(entry)


class _Parcel:
    """What somebody has brought, and waits for."""

    def __init__(self, entries: Mapping[bytes, Entry]) -> None:
        self.entries = entries
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def fits(self, entries: Mapping[bytes, Entry]) -> bool:
        """Whether it goes into one transaction with `entries`."""
        is_small = len(entries) + len(self.entries) <= _TRANSACTION
        return is_small and entries.keys().isdisjoint(self.entries)

    def tell(self, outcome: Outcome) -> None:
        """Say what became of it, if somebody waits still."""
        if not self.outcome.done():
            self.outcome.set_result({key: outcome[key] for key in self.entries})

    def fail(self, error: Exception) -> None:
        """Say that `error` kept it from being stored, if somebody waits still."""
        if not self.outcome.done():
            self.outcome.set_exception(error)


def _size(entry: Entry) -> int:
    return _ENTRY + len(entry.value)
