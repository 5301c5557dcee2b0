"""What another process buys is not bought here, and nobody waits in vain for it.

The other process is a real one, which does as it is told.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import pytest

from rerankd_server.caching.cached import Cached
from rerankd_server.caching.flights import Flights
from rerankd_server.caching.key import pair_keys, query_key, written
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.room import Room
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.errors import ShuttingDownError
from rerankd_server.scoring.scorer import CacheMode, Finding, Reason, Score, Source, Unscored, Usage
from support.clock import SetClock, settle
from support.flights import PLACES, Call, GatedScorer, Parts
from support.other_process import OtherProcess, other_process

THEIRS = 0.9
"""A score that the other process stores; ours is 0.5."""


def key(text: str) -> bytes:
    return pair_keys(query_key(written({"kind": "gated"}), "", "q"), [text])[0]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    store = Store(tmp_path, SMALLEST_LIMIT)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def parts(store: Store) -> AsyncGenerator[Parts]:
    scorer, room = GatedScorer(), Room(PLACES)
    leases = Leases(store.folder / "leases")
    memory = Memory(store, 1 << 20)
    parts = Parts(scorer, Cached(scorer, memory, room, leases), store, room)
    yield parts
    await parts.rest()
    assert leases._book
    assert not leases._book._holders


@pytest.fixture
async def other(store: Store, tmp_path: Path) -> AsyncGenerator[OtherProcess]:
    async with other_process(tmp_path) as process:
        yield process


async def sent(parts: Parts, *texts: str) -> Call:
    """Have a request ask for these documents, and wait until all are sent."""
    call = parts.call(*texts)
    await parts.scorer.until_sent(len(texts))
    return call


async def leases_now(other: OtherProcess, text: str) -> bool:
    """Whether the other process gets a lease of the pair, after another look."""
    await other.look()
    return await other.lease(key(text))


async def elsewhere(parts: Parts, text: str) -> None:
    """Wait until it is known of the pair that another process buys it, and no purchase is left."""
    flights = parts.cached._flights
    assert flights._elsewhere
    while key(text) not in flights._elsewhere._watched or flights._in_flight[key(text)].is_queued:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_what_lands_elsewhere_between_the_second_look_and_the_call_is_not_bought(
    parts: Parts, other: OtherProcess
) -> None:
    """Forced: without a comparison of what was given back since, "b" is bought twice."""
    parts.scorer.limit = 1
    call = parts.call("a", "b")
    await parts.scorer.until_sent(1)  # "b" was looked for twice, and waits for its turn
    await other.buy(key("b"), THEIRS)
    parts.scorer.answer("a", "b")
    assert await call.result() == {0: Score(0.5), 1: Score(THEIRS)}
    assert parts.scorer.sent == ["a"]
    assert call.sources == {Source.MODEL: 1, Source.SHARED: 1}
    assert call.usage == Usage(scored_pairs=1, model_calls=1, shared_pairs=1)


async def test_all_who_wait_get_what_another_process_bought(
    parts: Parts, other: OtherProcess
) -> None:
    assert await other.lease(key("a"))
    calls = [parts.call("a", str(n)) for n in range(3)]
    await elsewhere(parts, "a")
    parts.scorer.answer(*map(str, range(3)))
    while not all(call.found for call in calls):  # noqa: ASYNC110  # they do not wait for "a"
        await asyncio.sleep(0)
    await other.store(key("a"), THEIRS)
    await other.give_back(key("a"))
    for call in calls:
        assert (await call.result())[0] == Score(THEIRS)
        assert call.usage == Usage(scored_pairs=1, model_calls=1, shared_pairs=1)
    assert sorted(parts.scorer.sent) == ["0", "1", "2"]
    again = parts.call("a")
    await again.result()
    assert again.sources == {Source.CACHE: 1}


async def test_a_pair_that_lands_is_in_memory(
    parts: Parts, other: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await other.lease(key("a"))
    call = parts.call("a")
    await elsewhere(parts, "a")
    await other.store(key("a"), THEIRS)
    await other.give_back(key("a"))
    await call.result()

    async def unreadable(keys: object) -> Mapping[bytes, Finding]:
        raise AssertionError("the disk was asked")

    monkeypatch.setattr(parts.store, "read", unreadable)
    assert await parts.call("a").result() == {0: Score(THEIRS)}


async def test_what_another_process_fails_at_is_bought_here(
    parts: Parts, other: OtherProcess
) -> None:
    assert await other.lease(key("a"))
    calls = [parts.call("a") for _ in range(3)]
    await elsewhere(parts, "a")
    await other.give_back(key("a"))
    parts.scorer.answer("a")
    for call in calls:
        assert await call.result() == {0: Score(0.5)}
    assert parts.scorer.sent == ["a"]
    assert sum((call.usage for call in calls), Usage()) == Usage(
        scored_pairs=1, model_calls=1, shared_pairs=2
    )


async def test_what_a_process_that_died_was_buying_is_bought_here(
    parts: Parts, other: OtherProcess
) -> None:
    assert await other.lease(key("a"))
    call = parts.call("a")
    await elsewhere(parts, "a")
    await other.kill()
    parts.scorer.answer("a")
    assert await call.result() == {0: Score(0.5)}


async def test_who_leaves_what_is_bought_elsewhere_leaves_nothing_behind(
    parts: Parts, other: OtherProcess
) -> None:
    assert await other.lease(key("a"))
    call = parts.call("a")
    await elsewhere(parts, "a")
    assert parts.room.taken == 1
    await call.leave()
    assert parts.room.taken == 0
    await parts.rest()


async def test_who_stays_gets_what_the_leaver_came_to(parts: Parts, other: OtherProcess) -> None:
    assert await other.lease(key("a"))
    stayer, leaver = parts.call("a"), parts.call("a")
    await elsewhere(parts, "a")
    await settle()
    await leaver.leave()
    await other.give_back(key("a"))
    parts.scorer.answer("a")
    assert await stayer.result() == {0: Score(0.5)}
    assert stayer.usage == Usage(scored_pairs=1, model_calls=1)


async def test_at_a_shutdown_nobody_waits_for_another_process(
    parts: Parts, other: OtherProcess
) -> None:
    assert await other.lease(key("a"))
    call = parts.call("a")
    await elsewhere(parts, "a")
    await settle()
    assert not parts.cached._flights._purchases
    draining = asyncio.create_task(parts.cached.drain())
    await settle()
    assert not draining.done()
    parts.cached.dismiss()
    with pytest.raises(ShuttingDownError):
        await call.task
    await draining


async def test_a_process_that_stands_still_holds_up_nobody_for_ever(
    parts: Parts, other: OtherProcess
) -> None:
    clock = with_clock(parts)
    parts.scorer.answer("a")
    assert await other.lease(key("a"))
    call = parts.call("a")
    await until_it_waits(clock)
    clock.advance(59.9)
    await until_it_waits(clock)
    late = parts.call("a")  # it comes to the pair too, and waits no longer for that
    await settle()
    await elsewhere(parts, "a")
    assert parts.scorer.sent == []
    clock.advance(0.2)
    await until_it_waits(clock)
    assert await call.result() == await late.result() == {0: Score(0.5)}
    assert parts.scorer.sent == ["a"]
    clock.advance(1.0)


async def test_what_waits_for_its_turn_is_not_queued_again(
    parts: Parts, other: OtherProcess
) -> None:
    clock = with_clock(parts)
    assert await other.lease(key("a"))
    call = parts.call("a")
    await elsewhere(parts, "a")
    parts.scorer.limit = 0
    await other.give_back(key("a"))
    for _ in range(3):
        await until_it_waits(clock)
        clock.advance(1.0)
    await until_it_waits(clock)
    assert len(parts.cached._flights._purchases) == 1
    await call.leave()
    clock.advance(1.0)


def with_clock(parts: Parts) -> SetClock:
    """Have it look again only where the clock that this gives is put forward."""
    clock = SetClock()
    before = parts.cached._flights._elsewhere
    assert before
    memory = Memory(parts.store, 0)
    parts.cached._flights = Flights(parts.scorer, memory, parts.room, before._leases, clock)
    return clock


async def until_it_waits(clock: SetClock) -> None:
    """Wait until it has looked whether the pair is there, and waits to look again."""
    while not clock._due:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_defect_reaches_those_who_wait_for_another_process(
    parts: Parts, other: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await other.lease(key("a"))
    call = parts.call("a")
    await elsewhere(parts, "a")

    async def defective(keys: object) -> Mapping[bytes, Finding]:
        raise ZeroDivisionError

    monkeypatch.setattr(parts.store, "read", defective)
    await other.give_back(key("a"))
    with pytest.raises(ZeroDivisionError):
        await call.task


@pytest.mark.parametrize("mode", [CacheMode.REFRESH, CacheMode.BYPASS])
async def test_who_wants_a_new_score_asks_for_no_lease(
    parts: Parts, other: OtherProcess, mode: CacheMode
) -> None:
    assert await other.lease(key("a"))
    parts.scorer.answer("a", "b")
    assert await parts.call("a", mode=mode).result() == {0: Score(0.5)}
    await parts.call("b").result()


async def test_a_lease_is_given_back_as_soon_as_the_pair_lands(
    parts: Parts, other: OtherProcess
) -> None:
    call = await sent(parts, "a", "b")
    parts.scorer.answer("a")
    while not call.found:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert await leases_now(other, "a")
    assert not await other.lease(key("b"))
    parts.scorer.answer("b")
    await call.result()


@pytest.mark.parametrize(
    "outcome", [Score(0.5), Unscored(Reason.REFUSED), ZeroDivisionError()], ids=str
)
async def test_a_lease_is_given_back_however_the_call_ends(
    parts: Parts, other: OtherProcess, outcome: Score | Unscored | Exception
) -> None:
    parts.scorer.outcomes["a"] = outcome
    call = await sent(parts, "a")
    assert not await other.lease(key("a"))
    parts.scorer.answer("a")
    await asyncio.wait({call.task})
    if isinstance(outcome, Exception):
        assert call.task.exception() is outcome
    assert await leases_now(other, "a")


async def test_a_lease_is_given_back_where_a_call_is_given_up(
    parts: Parts, other: OtherProcess
) -> None:
    call = await sent(parts, "a")
    parts.cached.dismiss()
    with pytest.raises(ShuttingDownError):
        await call.task
    assert not await other.lease(key("a"))  # it is sent, and may land still
    await parts.cached.give_up()
    assert await leases_now(other, "a")


async def test_a_lease_outlives_the_caller_until_what_was_sent_is_stored(
    parts: Parts, other: OtherProcess
) -> None:
    call = await sent(parts, "a")
    await call.leave()
    assert not await other.lease(key("a"))
    parts.scorer.answer("a")
    await parts.cached.drain()
    assert await parts.store.count() == 1
    assert await leases_now(other, "a")
