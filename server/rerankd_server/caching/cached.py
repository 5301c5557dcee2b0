"""The cache: a scorer around a scorer that answers from the store, and has the rest bought once."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import cast

from rerankd_server.caching.flights import Flights
from rerankd_server.caching.key import keys_of, query_key, written
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.refusals import Refusals
from rerankd_server.caching.room import Room
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Documents,
    Leaf,
    Progress,
    Reason,
    Recalled,
    Scorer,
    Source,
    T,
    Unscored,
    Usage,
)

_SCORED_AT = attrgetter("scored_at")


class Cached(Scorer[T]):
    """Answers from `memory`, and asks `scorer` for the rest; `room` is where pairs wait for it.

    With `leases`, other processes that use the same store do not buy what is being bought here.
    What was refused not long ago, as `refusals` know, is not asked for again.
    """

    def __init__(
        self,
        scorer: Leaf[T],
        memory: Memory,
        room: Room | None = None,
        leases: Leases | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._identity = written(scorer.identity)
        self._memory = memory
        self._refusals = refusals or Refusals(0)
        self._flights = Flights(scorer, memory, room or Room(), leases, refusals=self._refusals)

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress[T]]:
        """Yield all stored scores at once, then the others as they land.

        Equal pairs of one call are one pair. `ask.cache_mode` says what is read and written; see
        `Scorer.score`.
        """
        keys = keys_of(Documents.of(candidates), self._query_key(ask))
        distinct = list(dict.fromkeys(keys))
        found = await self._memory.read(distinct) if ask.cache_mode.reads else {}
        if found:
            ask.ages.extend(map(_SCORED_AT, found.values()))
            by_place = {n: each for n, key in enumerate(keys) if (each := found.get(key))}
            yield Progress(
                # What lies under a scorer's keys is what it gave.
                found=cast("Mapping[int, T]", by_place),
                source=Source.CACHE,
                usage=Usage.had(Source.CACHE, found.values()),
            )
        if len(found) == len(distinct):
            return
        missing: dict[bytes, list[int]] = {}
        for position, key in enumerate(keys):
            if key not in found:
                missing.setdefault(key, []).append(position)
        if ask.cache_mode is CacheMode.ONLY_IF_CACHED:
            unscored = Unscored(Reason.NOT_CACHED)
            yield Progress(
                unscored={p: unscored for positions in missing.values() for p in positions},
                usage=Usage(unscored_pairs=len(missing)),
            )
            return
        if ask.cache_mode is CacheMode.READ_WRITE and (refused := self._refusals.find(missing)):
            yield Progress(
                unscored={p: u for key, u in refused.items() for p in missing.pop(key)},
                usage=Usage(unscored_pairs=len(refused)),
            )
        firsts = {key: candidates[positions[0]] for key, positions in missing.items()}
        async with aclosing(self._flights.land(ask, firsts)) as landings:
            async for landing in landings:
                by_place = {p: each for key, each in landing.found.items() for p in missing[key]}
                yield Progress(
                    found=cast("Mapping[int, T]", by_place),
                    unscored={p: u for key, u in landing.unscored.items() for p in missing[key]},
                    source=landing.source,
                    usage=landing.usage,
                )

    def recall(self, ask: Ask, candidates: Sequence[Candidate]) -> Recalled[T] | None:
        """Give all scores where memory has them all; see `Scorer.recall`."""
        if not ask.cache_mode.reads:
            return None
        documents, of_query = Documents.of(candidates), self._query_key(ask)
        found = self._memory.recall(documents, of_query)
        if found is None:
            return None
        return Recalled(cast("Sequence[T]", found), keys_of(documents, of_query))

    def _query_key(self, ask: Ask) -> bytes:
        return query_key(self._identity, ask.instruction, ask.query)

    def dismiss(self) -> None:
        """See `Flights.dismiss`."""
        self._flights.dismiss()

    async def drain(self) -> None:
        """See `Flights.drain`."""
        await self._flights.drain()

    async def give_up(self) -> None:
        """See `Flights.give_up`."""
        await self._flights.give_up()
