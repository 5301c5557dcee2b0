"""The circuit breaker of one scorer: when it trips, what it lets through, when it closes."""

import asyncio

import pytest

from rerankd_server.condition import Condition
from rerankd_server.errors import RequestRejectedError
from rerankd_server.scoring.breaker import Breaker, Caller, Go
from rerankd_server.scoring.scorer import Detail, Reason, Unscored
from support.clock import FastClock, settle

REFUSED = Unscored(Reason.REFUSED, detail=Detail.CUT_OFF)
REJECTED = Unscored(Reason.FAILED, RequestRejectedError("answers 400"))


class Parts:
    def __init__(self) -> None:
        self.clock = FastClock()
        self.changes: list[bool] = []
        self.condition = Condition("provider")
        self.condition.watch(lambda _, works: self.changes.append(works))
        self.breaker = Breaker(self.clock, self.condition, "labels by m")
        self.caller = Caller()

    async def go(self) -> Go:
        return await self.breaker.enter(self.caller)

    async def fail(self, times: int = 1, outcome: Unscored = REFUSED) -> list[Go]:
        seen = []
        for _ in range(times):
            seen.append(await self.go())
            if seen[-1] is not Go.STOP:
                self.breaker.failed(outcome)
                self.breaker.leave()
        return seen

    async def score(self) -> Go:
        went = await self.go()
        self.breaker.scored()
        self.breaker.leave()
        return went


async def test_a_dozen_alike_are_probed_and_then_nothing_is_sent() -> None:
    parts = Parts()
    seen = await parts.fail(20)
    assert seen == [Go.SEND] * 12 + [Go.PROBE] * 3 + [Go.STOP] * 5
    assert parts.changes == [True, False]
    assert parts.breaker.outcome.detail is Detail.CUT_OFF
    assert not parts.breaker.outcome.was_asked


async def test_a_score_between_begins_the_count_anew() -> None:
    parts = Parts()
    for _ in range(5):
        assert set(await parts.fail(11)) == {Go.SEND}
        await parts.score()
    assert parts.changes == [True]


async def test_outcomes_of_different_kinds_are_not_alike() -> None:
    parts = Parts()
    for _ in range(10):
        assert set(await parts.fail(6, REFUSED)) == {Go.SEND}
        assert set(await parts.fail(6, REJECTED)) == {Go.SEND}


async def test_a_probe_that_scores_closes_it() -> None:
    parts = Parts()
    await parts.fail(14)
    assert await parts.score() is Go.PROBE
    assert set(await parts.fail(11)) == {Go.SEND}
    assert parts.changes == [True]


async def test_it_waits_for_what_is_under_way() -> None:
    parts = Parts()
    assert await parts.go() is Go.SEND  # and does not come back yet
    await parts.fail(12)
    waiting = asyncio.create_task(parts.go())
    await settle()
    assert not waiting.done()
    parts.breaker.scored()
    parts.breaker.leave()
    assert await waiting is Go.SEND


@pytest.mark.parametrize("score", [True, False])
async def test_after_a_while_one_call_tries(score: bool) -> None:
    parts = Parts()
    await parts.fail(16)
    parts.clock.time += 29.9
    assert await parts.fail() == [Go.STOP]
    parts.clock.time += 0.1
    if score:
        assert await parts.score() is Go.PROBE
        assert await parts.go() is Go.SEND
        assert parts.changes == [True, False, True]
        return
    assert await parts.fail(2) == [Go.PROBE, Go.STOP]
    parts.clock.time += 30
    assert await parts.fail() == [Go.STOP]  # now it takes twice as long
    parts.clock.time += 30
    assert await parts.fail() == [Go.PROBE]


async def test_pauses_have_an_end() -> None:
    parts = Parts()
    await parts.fail(16)
    for _ in range(20):
        parts.clock.time += 600
        assert await parts.fail(2) == [Go.PROBE, Go.STOP]


async def test_who_insists_sends_one_call_and_may_close_it() -> None:
    parts = Parts()
    await parts.fail(16)
    parts.caller.insists = True
    assert await parts.fail(2) == [Go.PROBE, Go.STOP]
    assert await parts.breaker.enter(Caller(insists=True)) is Go.PROBE
    parts.breaker.scored()
    parts.breaker.leave()
    assert await parts.go() is Go.SEND


async def test_another_request_has_a_say_before_it_opens() -> None:
    """The last documents of a request may all be bad, with nothing behind them to be probed."""
    parts = Parts()
    await parts.fail(15)
    assert parts.changes == [True]
    assert await parts.breaker.enter(Caller()) is Go.PROBE
    parts.breaker.scored()
    parts.breaker.leave()
    assert parts.changes == [True]
    assert await parts.go() is Go.SEND


async def test_many_small_requests_open_it_together() -> None:
    parts = Parts()
    seen = []
    for _ in range(30):
        parts.caller = Caller()
        seen += await parts.fail()
    assert seen == [Go.SEND] * 12 + [Go.PROBE] * 12 + [Go.STOP] * 6
