"""Single flight: nothing is bought twice, nobody is left waiting, nothing bought is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd_server.caching.cached import Cached
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.purchase import Flight, Landing, Purchase, Waiter
from rerankd_server.caching.room import Room
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.errors import OverloadedError
from rerankd_server.scoring.scorer import (
    CacheMode,
    Finding,
    Reason,
    Score,
    Source,
    Unscored,
    Usage,
)
from support.clock import settle
from support.flights import DOWN, PLACES, Call, GatedScorer, Parts


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncGenerator[Parts]:
    store = Store(tmp_path, SMALLEST_LIMIT)
    await store.open()
    scorer, room = GatedScorer(), Room(PLACES)
    yield Parts(scorer, Cached(scorer, Memory(store, 0), room), store, room)
    await store.close()


async def joined(parts: Parts, calls: int) -> None:
    """Wait until as many requests wait for one and the same pair."""
    in_flight = parts.cached._flights._in_flight
    while max((len(each.waiting) for each in in_flight.values()), default=0) < calls:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_hundred_callers_buy_each_pair_once(parts: Parts) -> None:
    texts = [str(n) for n in range(100)]
    calls = [parts.call(*texts) for _ in range(100)]
    await joined(parts, 100)
    parts.scorer.answer(*texts)
    for call in calls:
        assert len(await call.result()) == 100
    assert sorted(parts.scorer.sent) == sorted(texts)
    assert sum(call.usage.model_calls for call in calls) == 100
    assert sum(call.usage.scored_pairs for call in calls) == 100
    assert sum(call.usage.shared_pairs for call in calls) == 9_900
    await parts.rest()


async def test_a_reply_is_put_together_from_cache_own_calls_and_others(parts: Parts) -> None:
    parts.scorer.answer("stored")
    await parts.call("stored").result()
    first, second = parts.call("a", "b"), parts.call("c")
    await parts.scorer.until_sent(4)
    mixed = parts.call("b", "stored", "own", "c", "a")
    await parts.scorer.until_sent(5)
    parts.scorer.answer("a", "b", "c", "own")
    await mixed.result()
    assert mixed.sources == {Source.CACHE: 1, Source.SHARED: 3, Source.MODEL: 1}
    assert mixed.usage == Usage(cached_pairs=1, scored_pairs=1, shared_pairs=3, model_calls=1)
    assert (await first.result()).keys() == {0, 1}
    assert (await second.result()).keys() == {0}
    assert sorted(parts.scorer.sent) == ["a", "b", "c", "own", "stored"]


async def test_who_leaves_first_hurts_nobody(parts: Parts) -> None:
    leader = parts.call("a", "b")
    await parts.scorer.until_sent(2)
    follower = parts.call("b", "a")
    await joined(parts, 2)
    await leader.leave()
    parts.scorer.answer("a", "b")
    await follower.result()
    assert follower.usage == Usage(shared_pairs=2)
    assert await parts.store.count() == 2
    await parts.rest()


async def test_who_follows_and_leaves_hurts_nobody(parts: Parts) -> None:
    leader = parts.call("a")
    await parts.scorer.until_sent(1)
    follower = parts.call("a")
    await joined(parts, 2)
    await follower.leave()
    parts.scorer.answer("a")
    await leader.result()
    assert leader.usage == Usage(scored_pairs=1, model_calls=1)
    await parts.rest()


async def test_when_all_have_left_what_was_sent_is_stored_and_nothing_else_sent(
    parts: Parts,
) -> None:
    parts.scorer.limit = 2
    call = parts.call("a", "b", "c", "d")
    await parts.scorer.until_sent(2)
    await call.leave()
    parts.scorer.answer("a", "b", "c", "d")
    await parts.cached.drain()
    assert parts.scorer.sent == ["a", "b"]
    assert await parts.store.count() == 2
    await parts.rest()


async def test_a_pair_that_was_dropped_is_bought_by_the_next_who_asks(parts: Parts) -> None:
    parts.scorer.limit = 1
    leaver = parts.call("a", "b")
    await parts.scorer.until_sent(1)
    await leaver.leave()
    parts.scorer.answer("a", "b")
    await parts.cached.drain()
    later = parts.call("b")
    await later.result()
    assert parts.scorer.sent == ["a", "b"]
    assert later.usage == Usage(scored_pairs=1, model_calls=1)


async def test_who_asks_before_the_drop_keeps_the_flight(parts: Parts) -> None:
    parts.scorer.limit = 1
    leaver = parts.call("a", "b")
    await parts.scorer.until_sent(1)
    later = parts.call("b")
    await joined(parts, 2)
    await leaver.leave()
    parts.scorer.answer("a", "b")
    await later.result()
    assert parts.scorer.sent == ["a", "b"]
    assert later.usage.scored_pairs + later.usage.shared_pairs == 1  # whichever came to it first


async def test_a_queue_whose_owner_left_sends_nothing_for_others(parts: Parts) -> None:
    parts.scorer.limit = 1
    leaver = parts.call("a", "b")
    await parts.scorer.until_sent(1)
    blocker_and_b = parts.call("c", "b")
    await parts.scorer.until_sent(2)
    await leaver.leave()
    parts.scorer.answer("a", "b")
    await settle()
    parts.scorer.answer("c")
    await blocker_and_b.result()
    assert parts.scorer.sent == ["a", "c", "b"]
    assert blocker_and_b.usage == Usage(scored_pairs=2, model_calls=2)
    await parts.rest()


async def test_nobody_waits_behind_anothers_queue(parts: Parts) -> None:
    parts.scorer.limit = 1
    first = parts.call("a", "b", "c")
    await parts.scorer.until_sent(1)
    second = parts.call("c")
    await parts.scorer.until_sent(2)
    assert parts.scorer.sent == ["a", "c"]
    parts.scorer.answer("c")
    await second.result()  # while "a" is still on its way
    assert second.usage == Usage(scored_pairs=1, model_calls=1)
    parts.scorer.answer("a", "b")
    await first.result()
    assert parts.scorer.sent == ["a", "c", "b"]
    assert first.usage == Usage(scored_pairs=2, shared_pairs=1, model_calls=2)
    await parts.rest()


async def test_a_failure_without_a_call_is_its_owners_alone(parts: Parts) -> None:
    parts.scorer.limit = 1
    unlucky = parts.call("a", "b")
    await parts.scorer.until_sent(1)
    lucky = parts.call("c", "b")
    await parts.scorer.until_sent(2)
    parts.scorer.gives_up_on.add("b")
    parts.scorer.answer("a")
    assert await unlucky.result() == {0: Score(0.5), 1: DOWN}
    parts.scorer.answer("b", "c")
    assert await lucky.result() == {0: Score(0.5), 1: Score(0.5)}
    await parts.rest()


async def test_a_failure_reaches_all_who_wait_and_is_forgotten(parts: Parts) -> None:
    parts.scorer.outcomes["a"] = DOWN
    calls = [parts.call("a") for _ in range(3)]
    await joined(parts, 3)
    parts.scorer.answer("a")
    for call in calls:
        assert await call.result() == {0: DOWN}
    assert [call.usage.unscored_pairs for call in calls] == [1, 1, 1]
    parts.scorer.outcomes["a"] = Score(0.7)
    assert await parts.call("a").result() == {0: Score(0.7)}


async def test_a_defect_reaches_all_who_wait_and_is_forgotten(parts: Parts) -> None:
    parts.scorer.outcomes["a"] = ZeroDivisionError()
    calls = [parts.call("a", "b") for _ in range(3)]
    await joined(parts, 3)
    parts.scorer.answer("a")
    for call in calls:
        with pytest.raises(ZeroDivisionError):
            await call.task
    await parts.rest()
    parts.scorer.outcomes["a"] = Score(0.7)
    assert await parts.call("a").result() == {0: Score(0.7)}


async def test_the_second_look_finds_what_landed_since_the_first(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule of the module's docstring, forced: without a second look "a" is bought twice."""
    looked, may_go_on = asyncio.Event(), asyncio.Event()
    read = parts.store.read

    async def slow_read(keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        found = await read(keys)
        if not looked.is_set():
            looked.set()
            await may_go_on.wait()
        return found

    monkeypatch.setattr(parts.store, "read", slow_read)
    slow = parts.call("a")
    await looked.wait()  # it has found nothing, and has not looked for a flight yet
    parts.scorer.answer("a")
    await parts.call("a").result()  # bought, stored, forgotten
    may_go_on.set()
    await slow.result()
    assert parts.scorer.sent == ["a"]
    assert slow.usage == Usage(cached_pairs=1)
    assert slow.sources == {Source.CACHE: 1}


@pytest.mark.parametrize("mode", [CacheMode.REFRESH, CacheMode.BYPASS])
async def test_who_wants_a_new_score_does_not_share(parts: Parts, mode: CacheMode) -> None:
    ordinary = parts.call("a")
    await parts.scorer.until_sent(1)
    special = parts.call("a", mode=mode)
    await parts.scorer.until_sent(2)
    parts.scorer.answer("a")
    await ordinary.result()
    await special.result()
    assert special.usage == Usage(scored_pairs=1, model_calls=1)
    await parts.rest()


async def test_what_nobody_waits_for_any_more_leaves_at_once(parts: Parts) -> None:
    parts.scorer.limit = 1
    call = parts.call("sent", "b", "c")
    await parts.scorer.until_sent(1)
    assert parts.room.taken == 2
    other = parts.call("d", "c")  # each request has one slot
    await parts.scorer.until_sent(2)
    assert parts.room.taken == 2
    await call.leave()
    assert parts.room.taken == 1
    await other.leave()
    assert parts.room.taken == 0
    parts.scorer.answer("sent", "d")
    await parts.rest()
    assert parts.scorer.sent == ["sent", "d"]


async def test_who_leaves_between_two_attempts_leaves_no_flight_behind() -> None:
    room, waiter = Room(), Waiter()
    in_flight: dict[bytes, Flight] = {}
    flight = in_flight[b"a"] = Flight(b"a", in_flight, partial(room.leave, "caller"))
    room.take(1, "caller")
    flight.waiting.add(waiter)
    purchase = Purchase({b"a": flight}, waiter, lambda: 0)
    purchase.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    assert purchase.claim(b"a")
    assert purchase.wants(b"a")  # for a second attempt
    flight.unawait(waiter)
    assert in_flight  # its call may be out
    assert not purchase.wants(b"a")
    assert not in_flight
    await asyncio.wait({purchase.task})
    assert purchase.task.cancelled()


async def test_a_thousand_who_come_and_go_leave_nothing_behind(parts: Parts) -> None:
    parts.scorer.limit = 1
    keeps = parts.call("sent")
    await parts.scorer.until_sent(1)
    for n in range(1000):
        call = parts.call("sent", *(f"{n} {m}" for m in range(20)))
        if n % 2:
            await parts.scorer.until_sent(len(parts.scorer.sent) + 1)
        await call.leave()
        parts.scorer.answer(*parts.scorer.sent[1:])
    await settle()
    assert parts.room.taken == 0
    parts.scorer.answer("sent")
    await keeps.result()
    await parts.rest()


async def test_a_purchase_ends_when_others_have_sent_all_of_it(parts: Parts) -> None:
    leader = parts.call("a", "b")
    followers = [parts.call("b", "a") for _ in range(5)]
    await parts.scorer.until_sent(2)
    await joined(parts, 6)
    await settle()
    assert len(parts.cached._flights._purchases) == 1
    parts.scorer.answer("a", "b")
    for call in [leader, *followers]:
        await call.result()
    await parts.rest()


async def test_what_another_has_sent_is_no_failure_of_the_owners() -> None:
    owner, other = Waiter(), Waiter()
    in_flight: dict[bytes, Flight] = {}
    for key in (b"a", b"b"):
        in_flight[key] = Flight(key, in_flight, lambda: None)
        in_flight[key].waiting.add(owner)
    purchase = Purchase(dict(in_flight), owner, lambda: 0)
    faster = Purchase({b"a": in_flight[b"a"]}, other, lambda: 0)
    for each in (purchase, faster):
        each.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    assert faster.claim(b"a")
    failed = {b"a": DOWN, b"b": DOWN}
    purchase.land(Source.MODEL, {}, failed, Usage(unscored_pairs=2, model_calls=1))
    landing = owner.get_nowait()
    assert isinstance(landing, Landing)
    assert landing.unscored.keys() == {b"b"}
    assert landing.usage == Usage(unscored_pairs=1, model_calls=1)
    # And of what was spent on nothing at all, the owner hears too.
    purchase.land(Source.MODEL, {}, {b"a": DOWN}, Usage(unscored_pairs=1, model_calls=1))
    assert owner.get_nowait().usage == Usage(model_calls=1)  # type: ignore[union-attr]
    for each in (purchase, faster):
        each.task.cancel()


async def test_without_room_what_is_new_is_refused_and_nothing_else(parts: Parts) -> None:
    parts.scorer.answer("stored")
    await parts.call("stored").result()
    parts.scorer.limit = 1
    full = parts.call("sent", *(str(n) for n in range(PLACES)))
    await parts.scorer.until_sent(2)
    assert parts.room.taken == PLACES
    late = parts.call("new", "stored", "sent", "0", "newer")
    while len(late.found) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert late.found.keys() == {0, 1, 4}
    for position in (0, 4):
        refused = late.found[position]
        assert isinstance(refused, Unscored)
        assert isinstance(refused.error, OverloadedError)
        assert "200 pairs wait" in str(refused.error)
        assert refused.error.retry_after is not None
    parts.scorer.answer("sent", *(str(n) for n in range(PLACES)))
    await late.result()
    assert late.usage.unscored_pairs == 2
    assert late.usage.cached_pairs == 1
    await full.result()
    assert await parts.call("stored", "sent").result() == {0: Score(0.5), 1: Score(0.5)}
    await parts.rest()


async def test_who_asks_for_what_is_queued_needs_no_room(parts: Parts) -> None:
    parts.scorer.limit = 1
    texts = [str(n) for n in range(PLACES)]
    calls = [parts.call(*texts) for _ in range(10)]
    await joined(parts, 10)
    assert parts.room.taken <= PLACES
    parts.scorer.answer(*texts)
    for call in calls:
        await call.result()
    assert sorted(parts.scorer.sent) == sorted(texts)
    await parts.rest()


texts = st.sampled_from("abcdef")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.lists(texts, min_size=1, max_size=4)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("answer"), texts),
        st.tuples(st.just("fail"), texts),
        st.tuples(st.just("break"), texts),
        st.tuples(st.just("wait"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(steps, st.integers(1, 3), st.integers(1, 6))
def test_after_any_schedule_all_is_at_rest_and_right(
    tmp_path_factory: pytest.TempPathFactory,
    schedule: list[tuple[str, list[str] | int | str]],
    limit: int,
    places: int,
) -> None:
    asyncio.run(run_schedule(tmp_path_factory.mktemp("flights"), schedule, limit, places))


RIGHT = {text: Score(n / 10) for n, text in enumerate("abcdef")}


async def run_schedule(
    folder: Path, schedule: list[tuple[str, list[str] | int | str]], limit: int, places: int
) -> None:
    """Requests that come and go, answers, failures and defects, in any order."""
    store = Store(folder, SMALLEST_LIMIT)
    await store.open()
    scorer = GatedScorer()
    scorer.limit = limit
    scorer.outcomes.update(RIGHT)
    room = Room(places)
    parts = Parts(scorer, Cached(scorer, Memory(store, 0), room), store, room)
    calls: list[Call] = []
    for step in schedule:
        await take(step, parts, calls)
    scorer.answer(*RIGHT)
    for call in calls:
        await check(call)
    await parts.rest()
    if not {"fail", "break"} & {kind for kind, _ in schedule}:
        assert max(Counter(scorer.sent).values(), default=0) <= 1
        assert await store.count() == len(set(scorer.sent))
    await store.close()


async def take(step: tuple[str, list[str] | int | str], parts: Parts, calls: list[Call]) -> None:
    match step:
        case "ask", list(asked):
            calls.append(parts.call(*asked))
        case "leave", int(which) if which < len(calls):
            await calls[which].leave()
        case "answer", str(text):
            parts.scorer.answer(text)
        case "fail", str(text):
            parts.scorer.outcomes[text] = Unscored(Reason.REFUSED)
        case "break", str(text):
            parts.scorer.outcomes[text] = ZeroDivisionError()
        case _:
            await settle()


async def check(call: Call) -> None:
    """Nobody is left waiting, and no score is wrong."""
    await asyncio.wait({call.task})
    if call.task.cancelled():
        return
    if error := call.task.exception():
        assert isinstance(error, ZeroDivisionError)
        return
    for position, outcome in (await call.result()).items():
        if isinstance(outcome, Unscored) and isinstance(outcome.error, OverloadedError):
            continue
        assert outcome in (RIGHT[call.texts[position]], Unscored(Reason.REFUSED))
