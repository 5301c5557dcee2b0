"""How much may be sent: windows of our own, and quotas that providers tell of."""

import random

import pytest

from rerankd_server.scoring.pace import Quota, Told, Window, read_duration, read_limit


def test_no_limit_never_waits() -> None:
    window = Window(None)
    window.take(0, 1e9)
    assert window.wait(0, 1e9) == 0


def test_in_no_minute_more_is_sent_than_the_limit() -> None:
    chance = random.Random(3)
    window = Window(100)
    now, sent = 0.0, []
    for _ in range(400):
        amount = chance.choice([1, 1, 1, 7, 30])
        now += window.wait(now, amount)
        window.take(now, amount)
        sent.append((now, amount))
        now += chance.choice([0, 0, 0.01, 3])
    for start, _ in sent:
        assert sum(amount for at, amount in sent if start <= at < start + 60) <= 100
    total = sum(amount for _, amount in sent)
    assert total / (now / 60) > 60  # and not much less


def test_a_window_says_how_long_to_wait() -> None:
    window = Window(3)
    for at in (0, 10, 20):
        assert window.wait(at, 1) == 0
        window.take(at, 1)
    assert window.wait(30, 1) == 31
    assert window.wait(30, 2) == 41
    assert window.wait(61, 1) == 0


def test_what_is_more_than_the_limit_goes_alone() -> None:
    window = Window(10)
    assert window.wait(0, 50) == 0
    window.take(0, 50)
    assert window.wait(1, 50) == window.wait(1, 1) == 60


def test_what_was_counted_too_much_is_taken_back() -> None:
    window = Window(10)
    sent = window.take(0, 10)
    window.correct(sent, 6)
    assert window.wait(30, 4) == 0
    assert window.wait(30, 5) == 31  # and goes with what it corrects
    assert window.wait(61, 10) == 0
    window.correct(sent, 0)
    assert window.wait(61, 11) == 0
    window.take(61, 10)
    assert window.wait(61, 1) == 61


def test_a_quota_that_nobody_told_of_never_waits() -> None:
    quota = Quota()
    quota.take(0, 1e9)
    assert quota.wait(0, 1e9) == 0


def test_a_quota_is_what_was_told_less_what_was_sent_since() -> None:
    quota = Quota()
    for _ in range(5):
        quota.take(0, 1)
    sent = quota.sent
    for _ in range(3):
        quota.take(0, 1)
    quota.told(Told(60, 4, 56), as_of=0, sent=sent)
    assert quota.wait(0, 1) == 0
    quota.take(0, 1)
    assert quota.wait(0, 1) == pytest.approx(1)  # one a second comes back
    assert quota.wait(1, 1) == pytest.approx(0)
    assert quota.wait(0, 3) == pytest.approx(3)
    assert quota.wait(0, 1e9) == pytest.approx(60)  # never more than there can be


def test_an_older_reply_does_not_count() -> None:
    quota = Quota()
    quota.told(Told(60, 0, 60), as_of=10, sent=0)
    quota.told(Told(60, 50, 10), as_of=5, sent=0)
    assert quota.wait(10, 1) == pytest.approx(1)


def test_what_is_left_may_jump() -> None:
    quota = Quota()
    quota.told(Told(60, 0, 60), as_of=0, sent=0)
    quota.told(Told(60, 59, 1), as_of=0.5, sent=0)
    assert quota.wait(0.5, 59) == 0


def test_an_idle_spell_saves_up_no_more_than_the_limit() -> None:
    quota = Quota()
    quota.told(Told(10, 10, 0), as_of=0, sent=0)
    for _ in range(10):
        assert quota.wait(600, 1) == 0
        quota.take(600, 1)
    assert quota.wait(600, 1) == pytest.approx(6)


def test_a_limit_a_day_comes_back_slowly() -> None:
    quota = Quota()
    quota.told(Told(1440, 0, 86_400), as_of=0, sent=0)
    assert quota.wait(0, 1) == pytest.approx(60)


def headers(limit: object, remaining: object, reset: object = "1s") -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": str(reset),
    }


def test_headers_are_read() -> None:
    assert read_limit(headers(60, 59, "1s"), "requests") == Told(60, 59, 1)
    assert read_limit(headers(60, 59, "6m0s"), "requests") == Told(60, 59, 360)
    assert read_limit(headers(60, 59), "tokens") is None


@pytest.mark.parametrize(
    ("limit", "remaining"),
    [(-1, -1), (0, 0), ("", ""), ("many", 1), (60, "nan"), ("inf", 1), (60, 61), (60, -1)],
)
def test_headers_that_tell_of_no_limit_are_passed_over(limit: object, remaining: object) -> None:
    assert read_limit(headers(limit, remaining), "requests") is None
    assert read_limit({}, "requests") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("12ms", 0.012),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723),
        ("1d", 86_400),
        ("30", 30),
        ("0.5", 0.5),
        ("", 0),
        (None, 0),
        ("soon", 0),
        ("-5", 0),
        ("nan", 0),
        ("1e999", 0),
        ("9" * 400 + "s", 0),
        ("2026-11-22T10:00:00Z", 0),
        ("1764000000", 0),
    ],
)
def test_durations_are_read(text: str | None, seconds: float) -> None:
    assert read_duration(text) == pytest.approx(seconds)
