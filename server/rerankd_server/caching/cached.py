"""The cache: a scorer around a scorer that answers from the store, and has the rest bought once."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Generic, cast

from rerankd_server.caching.flights import Flights
from rerankd_server.caching.key import pair_keys, query_key
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Findings
from rerankd_server.caching.room import Room
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Finding,
    Leaf,
    Progress,
    Reason,
    Source,
    T,
    Unscored,
    Usage,
)


class Cached(Generic[T]):
    """Answers from `store`, and asks `scorer` for the rest; `room` is where pairs wait for it.

    With `leases`, other processes that use the same store do not buy what is being bought here.
    """

    def __init__(
        self,
        scorer: Leaf[T],
        store: Findings,
        room: Room | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._scorer = scorer
        self._store = store
        self._flights = Flights(scorer, store, room or Room(), leases)

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress[T]]:
        """Yield all stored scores at once, then the others as they land.

        Equal pairs of one call are one pair. `ask.cache_mode` says what is read and written; see
        `Scorer.score`.
        """
        of_query = query_key(self._scorer.identity, ask.instruction, ask.query)
        places: dict[bytes, list[int]] = {}
        keys = pair_keys(of_query, [candidate.text for candidate in candidates])
        for position, key in enumerate(keys):
            places.setdefault(key, []).append(position)

        found = await self._store.read(list(places)) if ask.cache_mode.reads else {}
        if found:
            ask.seen.update(found)
            yield Progress(
                found=self._by_place(found, places),
                source=Source.CACHE,
                usage=Usage.had(Source.CACHE, found.values()),
            )
        missing = {key: positions for key, positions in places.items() if key not in found}
        if not missing:
            return
        if ask.cache_mode is CacheMode.ONLY_IF_CACHED:
            unscored = Unscored(Reason.NOT_CACHED)
            yield Progress(
                unscored={p: unscored for positions in missing.values() for p in positions},
                usage=Usage(unscored_pairs=len(missing)),
            )
            return
        firsts = {key: candidates[positions[0]] for key, positions in missing.items()}
        async with aclosing(self._flights.land(ask, firsts)) as landings:
            async for landing in landings:
                yield Progress(
                    found=self._by_place(landing.found, missing),
                    unscored={p: u for key, u in landing.unscored.items() for p in missing[key]},
                    source=landing.source,
                    usage=landing.usage,
                )

    def _by_place(
        self, found: Mapping[bytes, Finding], places: Mapping[bytes, Sequence[int]]
    ) -> Mapping[int, T]:
        """Give what was found by position; what lies under a scorer's keys is what it gave."""
        by_place = {place: found[key] for key in found for place in places[key]}
        return cast("Mapping[int, T]", by_place)

    def dismiss(self) -> None:
        """See `Flights.dismiss`."""
        self._flights.dismiss()

    async def drain(self) -> None:
        """See `Flights.drain`."""
        await self._flights.drain()

    async def give_up(self) -> None:
        """See `Flights.give_up`."""
        await self._flights.give_up()
