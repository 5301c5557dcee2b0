"""The cache: a scorer around a scorer that answers from the store, and has the rest bought once."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import TypeVar, cast

from rerankd_server.caching.flights import Flights
from rerankd_server.caching.key import keys_of, query_key, written
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.refusals import Refusals
from rerankd_server.caching.room import Room
from rerankd_server.off_loop import OffLoop
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Documents,
    Finding,
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

V = TypeVar("V")

_SCORED_AT = attrgetter("scored_at")
_PAGE = 1_000
"""Documents that are looked up before other calls get their turn: a millisecond or two."""
_FREE_PAGE = 250
"""Pairs that a scorer that is free is asked for before other calls get their turn."""
_MOST_CHARACTERS = 1 << 20
"""Of documents that are hashed while other calls wait."""


class Cached(Scorer[T]):
    """Answers from `memory`, and asks `scorer` for the rest; `room` is where pairs wait for it.

    With `leases`, other processes that use the same store do not buy what is being bought here.
    What was refused not long ago, as `refusals` know, is not asked for again. A scorer that
    `is_free`, and makes nobody wait, is asked page by page.
    """

    def __init__(
        self,
        scorer: Leaf[T],
        memory: Memory,
        room: Room | None = None,
        leases: Leases | None = None,
        refusals: Refusals | None = None,
        off_loop: OffLoop | None = None,
        *,
        is_free: bool = False,
    ) -> None:
        self._identity = written(scorer.identity)
        self._memory = memory
        self._off_loop = off_loop or OffLoop()
        self._is_free = is_free
        self._refusals = refusals or Refusals(0)
        self._flights = Flights(scorer, memory, room or Room(), leases, refusals=self._refusals)

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress[T]]:
        """Yield the stored scores, at once or page by page, then the others as they land.

        Equal pairs of one call are one pair. `ask.cache_mode` says what is read and written; see
        `Scorer.score`.
        """
        documents, of_query = Documents.of(candidates), self._query_key(ask)
        placed = partial(_placed, documents, of_query)
        is_large = len(documents) > _PAGE or documents.characters > _MOST_CHARACTERS
        places, pages = await self._off_loop.run(placed) if is_large else placed()
        known: dict[bytes, Finding] = {}
        for number, page in enumerate(pages if ask.cache_mode.reads else ()):
            if number:
                await self._off_loop.turn()
            found = await self._memory.read(page)
            if found:
                known.update(found)
                ask.ages.extend(map(_SCORED_AT, found.values()))
                yield Progress(
                    # What lies under a scorer's keys is what it gave.
                    found=cast("Mapping[int, T]", _spread(found, places)),
                    source=Source.CACHE,
                    usage=Usage.had(Source.CACHE, found.values()),
                )
        if len(known) == len(places):
            return
        missing = {key: each for key, each in places.items() if key not in known}
        for some in _in_pages(missing) if self._is_free else [missing]:
            async with aclosing(self._have_scored(ask, candidates, some)) as outcomes:
                async for progress in outcomes:
                    yield progress

    async def _have_scored(
        self, ask: Ask, candidates: Sequence[Candidate], missing: dict[bytes, Sequence[int]]
    ) -> AsyncGenerator[Progress[T]]:
        """Yield what becomes of pairs that are not stored: each key's places in `missing`."""
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
                yield Progress(
                    found=cast("Mapping[int, T]", _spread(landing.found, missing)),
                    unscored=_spread(landing.unscored, missing),
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


def _placed(
    documents: Documents, of_query: bytes
) -> tuple[dict[bytes, Sequence[int]], Sequence[Sequence[bytes]]]:
    """Return the places of each key, as they come, and the keys by pages.

    Keys of a page lie together, if there are several pages, so that they are read in one go.
    """
    places: dict[bytes, list[int]] = {}
    for position, key in enumerate(keys_of(documents, of_query)):
        places.setdefault(key, []).append(position)
    keys = sorted(places) if len(places) > _PAGE else list(places)
    pages = [keys[start : start + _PAGE] for start in range(0, len(keys), _PAGE)]
    return cast("dict[bytes, Sequence[int]]", places), pages


def _spread(by_key: Mapping[bytes, V], places: Mapping[bytes, Sequence[int]]) -> dict[int, V]:
    """Return what there is by key for each place."""
    return {place: each for key, each in by_key.items() for place in places[key]}


def _in_pages(missing: Mapping[bytes, Sequence[int]]) -> Iterator[dict[bytes, Sequence[int]]]:
    pairs = iter(missing.items())
    while page := dict(islice(pairs, _FREE_PAGE)):
        yield page
