"""Turns: whose is next, when it comes, and when it is refused. Time stands still unless told."""

import asyncio
import traceback
from collections.abc import Callable, Mapping

import pytest

from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from rerankd_server.scoring.dispatcher import Allowance, Dispatcher, Line, Turn
from rerankd_server.scoring.retrying import PassingError
from support.clock import SetClock, settle

Headers = Mapping[str, str]
NOTHING: Headers = {}

DOWN = PassingError("answers 503", rate_limited=False)


def limited(retry_after: float | None = None) -> PassingError:
    return PassingError("answers 429", rate_limited=True, retry_after=retry_after)


class Parts:
    """A dispatcher, and the calls that it let go: each ends when it is told how."""

    def __init__(
        self, concurrency: int = 100, at_first: int | None = None, **allowance: float
    ) -> None:
        self.clock = SetClock()
        begin = concurrency if at_first is None else at_first
        self.dispatcher = Dispatcher(
            Allowance(concurrency, at_first=begin, **allowance), self.clock
        )
        self.sent: list[str] = []
        self.in_flight: dict[str, tuple[Turn, asyncio.Event]] = {}

    def call(
        self,
        name: str,
        line: Line | None = None,
        tokens: float = 0,
        wanted: Callable[[], bool] = lambda: True,
        claim: Callable[[], bool] = lambda: True,
    ) -> asyncio.Task[None]:
        async def hold() -> None:
            async with self.dispatcher.turn(line or Line(), wanted, claim, tokens) as turn:
                if turn is None:
                    return
                over = asyncio.Event()
                self.sent.append(name)
                self.in_flight[name] = turn, over
                await over.wait()

        return asyncio.create_task(hold())

    async def answer(self, *names: str, tokens: int = 0, told: Headers = NOTHING) -> None:
        for name in names:
            turn, over = self.in_flight.pop(name)
            headers = {f"x-ratelimit-{key}": value for key, value in told.items()}
            self.dispatcher.heard(turn, headers)
            self.dispatcher.answered(turn, tokens)
            over.set()
        await settle()

    async def fail(self, error: PassingError | ProviderError, *names: str) -> None:
        for name in names:
            turn, over = self.in_flight.pop(name)
            self.dispatcher.failed(turn, error)
            over.set()
        await settle()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await settle()


async def test_no_more_go_together_than_may() -> None:
    parts = Parts(2)
    line = Line()
    calls = [parts.call(name, line) for name in "abcd"]
    await settle()
    assert parts.sent == ["a", "b"]
    await parts.answer("a")
    assert parts.sent == ["a", "b", "c"]
    await parts.answer("b", "c")
    await parts.answer("d")
    await asyncio.gather(*calls)


async def test_lines_take_turns() -> None:
    parts = Parts(1)
    large, small, other = Line(), Line(), Line()
    _calls = [parts.call(f"large {n}", large) for n in range(4)]
    await settle()
    _more = [parts.call(f"small {n}", small) for n in range(2)]
    _others = [parts.call("other", other)]
    await settle()
    for _ in range(7):
        await parts.answer(parts.sent[-1])
    assert parts.sent == [
        *("large 0", "large 1", "small 0", "other"),
        *("large 2", "small 1", "large 3"),
    ]


async def test_what_is_wanted_no_more_takes_no_turn() -> None:
    parts = Parts(1)
    first, dropped, last = (
        parts.call("a"),
        parts.call("b", wanted=lambda: False),
        parts.call("c"),
    )
    await settle()
    await parts.answer("a")
    assert dropped.done()
    assert parts.sent == ["a", "c"]
    await parts.answer("c")
    await asyncio.gather(first, last)


async def test_who_is_cancelled_in_the_queue_leaves_it() -> None:
    parts = Parts(1)
    line = Line()
    _first, second, third = (parts.call(name, line) for name in "abc")
    await settle()
    second.cancel()
    await settle()
    await parts.answer("a")
    assert parts.sent == ["a", "c"]
    await parts.answer("c")
    await third


async def test_who_is_cancelled_just_when_the_turn_comes_gives_it_back() -> None:
    parts = Parts(1)
    loop = asyncio.get_running_loop()

    def cancel_soon() -> bool:  # between the turn and its use
        loop.call_soon(second.cancel)
        return True

    parts.call("a")
    second, third = parts.call("b", claim=cancel_soon), parts.call("c")
    await settle()
    await parts.answer("a")
    await settle()
    assert parts.sent == ["a", "c"]
    await parts.answer("c")
    await third


async def test_a_set_limit_of_calls_holds() -> None:
    parts = Parts(requests_per_minute=3)
    _calls = [parts.call(str(n)) for n in range(5)]
    await settle()
    assert len(parts.sent) == 3
    await parts.answer("0", "1", "2")
    await parts.pass_time(60)
    assert len(parts.sent) == 3
    await parts.pass_time(2)
    assert len(parts.sent) == 5


async def test_a_set_limit_of_tokens_holds_and_the_reply_corrects_the_guess() -> None:
    parts = Parts(tokens_per_minute=100)
    _calls = [parts.call(str(n), tokens=50) for n in range(4)]
    await settle()
    assert parts.sent == ["0", "1"]
    await parts.answer("0", tokens=10)
    assert parts.sent == ["0", "1"]
    await parts.answer("1", tokens=10)
    assert parts.sent == ["0", "1", "2"]


async def test_what_the_headers_say_is_left_is_all_that_is_sent() -> None:
    parts = Parts()
    _calls = [parts.call(str(n)) for n in range(2)]
    await settle()
    _more = [parts.call(str(n)) for n in range(2, 4)]
    await settle()
    told = {"limit-requests": "60", "remaining-requests": "5", "reset-requests": "55s"}
    await parts.answer("0", told=told)  # of the five, three are sent
    _rest = [parts.call(str(n)) for n in range(4, 10)]
    await settle()
    assert len(parts.sent) == 6
    await parts.pass_time(1.01)
    assert len(parts.sent) == 7


async def test_the_headers_also_limit_tokens() -> None:
    parts = Parts()
    parts.call("a", tokens=10)
    await settle()
    told = {"limit-tokens": "600", "remaining-tokens": "15", "reset-tokens": "58.5s"}
    await parts.answer("a", told=told)
    for name in "bc":
        parts.call(name, tokens=10)
    await settle()
    assert parts.sent == ["a", "b"]
    await parts.pass_time(0.6)
    assert parts.sent == ["a", "b", "c"]


async def test_when_one_is_limited_all_pause_as_long_as_the_provider_says() -> None:
    parts = Parts()
    parts.call("a")
    await settle()
    await parts.fail(limited(7), "a")
    waiting = [parts.call(name) for name in "bc"]
    await parts.pass_time(6.9)
    assert parts.sent == ["a"]
    await parts.pass_time(0.2)
    assert parts.sent == ["a", "b"]  # one goes first
    await parts.answer("b")
    assert parts.sent == ["a", "b", "c"]
    await parts.answer("c")
    await asyncio.gather(*waiting)


async def test_without_a_word_pauses_double_until_a_call_succeeds() -> None:
    parts = Parts()
    pauses = []
    for n in range(9):
        parts.call(str(n))
        await settle()
        pause = 0.0
        while len(parts.sent) == n:
            await parts.pass_time(0.25)
            pause += 0.25
        pauses.append(pause)
        if n == 7:
            await parts.answer("7")
        else:
            await parts.fail(limited(), str(n))
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 16, 0]


async def test_an_outage_of_days_ends_like_any_other() -> None:
    parts = Parts()
    await down(parts)
    for n in range(1500):
        await parts.pass_time(17)
        parts.call(str(n))
        await settle()
        await parts.fail(DOWN, str(n))
    await parts.pass_time(17)
    parts.call("back")
    await settle()
    await parts.answer("back")
    parts.call("next")
    await settle()
    assert parts.sent[-2:] == ["back", "next"]


async def test_a_pause_that_was_too_short_is_followed_by_longer_ones() -> None:
    parts = Parts()
    parts.call("0")
    await settle()
    for n in range(3):
        await parts.fail(limited(0), str(n))
        parts.call(str(n + 1))
        await settle()
        assert (len(parts.sent) == n + 2) is (n == 0)
        await parts.pass_time(2)


async def test_those_who_were_sent_before_the_pause_do_not_begin_another() -> None:
    parts = Parts()
    for name in "abc":
        parts.call(name)
    await settle()
    await parts.fail(limited(), "a", "b")
    await parts.fail(limited(2), "c")  # but how long they ask for counts
    parts.call("d")
    await parts.pass_time(1.9)
    assert parts.sent == ["a", "b", "c"]
    await parts.pass_time(0.2)
    assert parts.sent == ["a", "b", "c", "d"]


async def test_after_a_pause_more_go_together_with_every_success() -> None:
    parts = Parts(32)
    calls = [parts.call(str(n)) for n in range(300)]
    await settle()
    await parts.fail(limited(1), "0")
    await parts.answer(*list(parts.in_flight))
    assert len(parts.sent) == 32
    await parts.pass_time(1)
    together = []
    for _ in range(9):
        together.append(len(parts.in_flight))
        await parts.answer(*list(parts.in_flight))
    assert together == [1, 2, 4, 8, 16, 16, 17, 18, 19]
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_nobody_waits_for_the_end_of_a_long_pause() -> None:
    parts = Parts(1, longest_wait=30)
    first, second = parts.call("a"), parts.call("b")
    await settle()
    await parts.fail(limited(50), "a")
    for late in (second, parts.call("c")):
        with pytest.raises(RateLimitedError, match="no call is sent for now") as raised:
            await late
        assert raised.value.retry_after == 50
    await parts.pass_time(20.5)
    parts.call("d")
    await settle()
    assert parts.sent == ["a"]
    await parts.pass_time(29.5)
    assert parts.sent == ["a", "d"]
    await first


async def down(parts: Parts) -> None:
    """Fail ten times in a row."""
    for n in range(10):
        parts.call(f"down {n}")
    await settle()
    await parts.fail(DOWN, *(f"down {n}" for n in range(10)))


async def test_a_provider_that_keeps_failing_is_given_up_on_and_tried_again() -> None:
    parts = Parts()
    heard: list[bool] = []
    parts.dispatcher.condition.watch(lambda _, works: heard.append(works))
    await down(parts)
    assert heard == [True, False]
    with pytest.raises(ProviderUnavailableError) as raised:
        await parts.call("refused")
    assert raised.value.retry_after == 1
    await parts.pass_time(0.6)
    first = parts.call("first")
    await settle()
    with pytest.raises(ProviderUnavailableError):
        await parts.call("refused")  # while the first is out
    await parts.fail(DOWN, "first")
    await first
    await parts.pass_time(0.9)
    with pytest.raises(ProviderUnavailableError):
        await parts.call("refused")  # the second pause is longer
    await parts.pass_time(0.2)
    parts.call("second")
    await settle()
    assert heard == [True, False]
    await parts.answer("second")
    assert heard == [True, False, True]
    parts.call("third")
    await settle()
    assert [name for name in parts.sent if "down" not in name] == ["first", "second", "third"]


async def test_those_who_wait_when_it_is_given_up_on_are_told_at_once() -> None:
    parts = Parts(10)
    await settle()
    calls = [parts.call(f"down {n}") for n in range(10)]
    waiting = [parts.call(str(n)) for n in range(50)]
    await settle()
    await parts.fail(DOWN, *(f"down {n}" for n in range(10)))
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in done} == {ProviderUnavailableError}
    await asyncio.gather(*calls)


async def test_failures_that_are_not_in_a_row_do_no_harm() -> None:
    parts = Parts()
    for n in range(50):
        parts.call(str(n))
        await settle()
        if n % 9 == 8:
            await parts.answer(str(n))
        else:
            await parts.fail(DOWN, str(n))
    assert len(parts.sent) == 50


async def test_a_key_that_is_refused_is_not_shown_again_at_once() -> None:
    parts = Parts()
    parts.call("a")
    await settle()
    await parts.fail(KeyRejectedError("no"), "a")
    for _ in range(2):
        with pytest.raises(KeyRejectedError, match="no"):
            await parts.call("b")
    await parts.pass_time(0.6)
    parts.call("c")
    await settle()
    assert parts.sent == ["a", "c"]


async def test_a_call_that_hangs_since_before_does_not_keep_the_first_from_going() -> None:
    parts = Parts(12)
    for name in ("hangs", "hangs too"):
        parts.call(name)
    await settle()
    await down(parts)
    await parts.pass_time(1)
    parts.call("first")
    await settle()
    assert parts.sent[-1] == "first"
    await parts.answer("hangs", "first")
    parts.call("next")
    await settle()
    assert parts.sent[-1] == "next"


async def test_who_leaves_the_head_of_the_queue_frees_those_behind() -> None:
    parts = Parts(tokens_per_minute=1000)
    parts.call("a", tokens=600)
    head = parts.call("large", tokens=900)
    await settle()
    parts.call("small", tokens=100)
    await settle()
    assert parts.sent == ["a"]
    head.cancel()
    await settle()
    assert parts.sent == ["a", "small"]


async def test_who_is_wanted_no_more_holds_nobody_up() -> None:
    parts = Parts(requests_per_minute=1)
    parts.call("a")
    await settle()
    wanted = [True]
    dropped = parts.call("b", wanted=lambda: wanted[0])
    await settle()
    wanted[0] = False
    parts.call("c")
    await dropped  # at once, and not in a minute


async def test_a_long_pause_that_a_late_reply_asks_for_is_told() -> None:
    parts = Parts(longest_wait=60)
    for name in "ab":
        parts.call(name)
    await settle()
    await parts.fail(limited(1), "a")
    parts.call("c")
    await parts.pass_time(1.1)
    await parts.answer("c")
    await parts.fail(limited(300), "b")
    with pytest.raises(RateLimitedError) as raised:
        await parts.call("d")
    assert raised.value.retry_after == 300


async def test_a_quota_that_is_used_up_for_long_is_told() -> None:
    parts = Parts(longest_wait=60)
    parts.call("a")
    await settle()
    told = {"limit-requests": "200", "remaining-requests": "0", "reset-requests": "24h"}
    await parts.answer("a", told=told)
    with pytest.raises(RateLimitedError, match="used up") as raised:
        await parts.call("b")
    assert raised.value.retry_after == pytest.approx(432)
    await parts.pass_time(400)
    parts.call("c")
    await parts.pass_time(40)
    assert parts.sent == ["a", "c"]


async def test_refusals_do_not_pile_up_in_one_error() -> None:
    parts = Parts()
    parts.call("a")
    await settle()
    await parts.fail(KeyRejectedError("no"), "a")
    lengths = []
    for _ in range(20):
        with pytest.raises(KeyRejectedError) as raised:
            await parts.call("b")
        lengths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert len(set(lengths)) == 1


async def test_a_late_success_does_not_end_the_pauses_of_an_outage() -> None:
    parts = Parts()
    parts.call("old")
    await settle()
    await down(parts)
    await parts.answer("old")
    await parts.pass_time(0.6)
    parts.call("first")
    await settle()
    await parts.fail(DOWN, "first")
    with pytest.raises(ProviderUnavailableError):
        await parts.call("second")


async def test_after_two_pauses_in_a_row_calls_still_come_back_quickly() -> None:
    parts = Parts(32)
    calls = [parts.call(str(n)) for n in range(200)]
    await settle()
    await parts.fail(limited(1), "0")
    await parts.answer(*list(parts.in_flight))
    await parts.pass_time(1)
    await parts.fail(limited(1), *list(parts.in_flight))
    await parts.pass_time(1)
    together = []
    for _ in range(5):
        together.append(len(parts.in_flight))
        await parts.answer(*list(parts.in_flight))
    assert together == [1, 2, 4, 8, 16]
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_until_one_is_answered_calls_begin_slowly() -> None:
    """A wrong key or address is to cost few."""
    parts = Parts(20, at_first=3)
    line = Line()
    calls = [parts.call(str(n), line) for n in range(20)]
    await settle()
    assert len(parts.sent) == 3
    for count in range(4, 8):
        await parts.pass_time(0.05)
        assert len(parts.sent) == count
    await parts.answer("0")
    assert len(parts.sent) == 20
    await parts.answer(*list(parts.in_flight))
    await asyncio.gather(*calls)


async def test_a_refusal_is_no_answer_that_calls_may_be_many_after() -> None:
    parts = Parts(20, at_first=3)
    line = Line()
    calls = [parts.call(str(n), line) for n in range(20)]
    await settle()
    for name in ("0", "1", "2"):
        turn, over = parts.in_flight.pop(name)
        parts.dispatcher.refused(turn)
        over.set()
    await settle()
    assert len(parts.sent) == 6
    await parts.answer("3")
    await parts.answer(*list(parts.in_flight))
    await asyncio.gather(*calls)
