"""The cache: a scorer around a scorer that buys each pair's score once.

Equal pairs of one call are looked up and scored once. What is missing is bought by a task of its
own, which stores each score before the caller sees it and outlives a caller that leaves: what is
already sent is paid for, so it is kept; what is not sent yet is dropped.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from rerankd_server.caching.key import pair_key, query_key
from rerankd_server.caching.store import Store
from rerankd_server.errors import ShuttingDownError
from rerankd_server.logs import log_defect
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Identity,
    Progress,
    Reason,
    Scorer,
    Source,
    Unscored,
    Usage,
)

_log = structlog.get_logger()


class Cached:
    """Answers from `store`, and asks `scorer` for the rest."""

    def __init__(self, scorer: Scorer, store: Store) -> None:
        self._scorer = scorer
        self._store = store
        self._purchases: set[asyncio.Task[None]] = set()

    @property
    def identity(self) -> Identity:
        """The inner scorer's: a cache changes no score."""
        return self._scorer.identity

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Yield all stored scores at once, then the others as they are bought and stored.

        See `Scorer.score`; `ask.cache_mode` says what is read and written.
        """
        of_query = query_key(self._scorer.identity, ask.instruction, ask.query)
        places: dict[bytes, list[int]] = {}
        for position, candidate in enumerate(candidates):
            places.setdefault(pair_key(of_query, candidate.text), []).append(position)

        found = await self._store.read(list(places)) if ask.cache_mode.reads else {}
        if found:
            yield Progress(
                scores={p: score for key, score in found.items() for p in places[key]},
                source=Source.CACHE,
                usage=Usage(cached_pairs=len(found)),
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
        async with aclosing(self._buy(ask, candidates, missing)) as bought:
            async for progress in bought:
                yield progress

    async def drain(self, seconds: float) -> None:
        """Wait until nothing bought is still on its way into the store, then give it up."""
        if not self._purchases:
            return
        _, late = await asyncio.wait(self._purchases, timeout=seconds)
        for purchase in late:
            purchase.cancel()
        if late:
            await asyncio.wait(late)
            _log.warning("calls given up at shutdown", requests=len(late))

    async def _buy(
        self, ask: Ask, candidates: Sequence[Candidate], missing: Mapping[bytes, Sequence[int]]
    ) -> AsyncGenerator[Progress]:
        """Yield the outcomes of `missing`, at the positions of all their candidates."""
        keys = list(missing)
        left = False

        def wanted() -> bool:
            return not left

        arrivals: asyncio.Queue[Progress | Exception | None] = asyncio.Queue()
        firsts = [replace(candidates[missing[key][0]], wanted=wanted) for key in keys]

        async def purchase() -> None:
            try:
                async with aclosing(self._scorer.score(ask, firsts)) as scored:
                    async for progress in scored:
                        if ask.cache_mode.writes:
                            await self._store.write(
                                {keys[i]: score for i, score in progress.scores.items()}
                            )
                        arrivals.put_nowait(progress)
                arrivals.put_nowait(None)
            except asyncio.CancelledError:
                arrivals.put_nowait(ShuttingDownError())
                raise
            except Exception as error:  # noqa: BLE001  # raised where it is awaited, below
                if left:
                    log_defect(error)
                arrivals.put_nowait(error)

        task = asyncio.create_task(purchase())
        self._purchases.add(task)
        task.add_done_callback(self._purchases.discard)
        try:
            while (arrival := await arrivals.get()) is not None:
                if isinstance(arrival, Exception):
                    raise arrival
                yield replace(
                    arrival,
                    scores={p: s for i, s in arrival.scores.items() for p in missing[keys[i]]},
                    unscored={p: u for i, u in arrival.unscored.items() for p in missing[keys[i]]},
                )
        finally:
            left = True
