"""How much may be sent now: what the settings allow, and what the provider says is left.

Arithmetic alone, on times that the caller gives. An amount is a number of calls, or of tokens.
"""

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_MINUTE = 61.0
"""Seconds: one more than a minute has, for calls that take longer on their way than others."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


@dataclass(slots=True)
class Sent:
    """What was sent at one time."""

    at: float
    amount: float
    is_over: bool = False
    """Whether it counts no more."""


class Window:
    """At most `limit` in any minute, as a setting asks for; None is no limit.

    What is more than the limit by itself is sent alone.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._sent: deque[Sent] = deque()
        self._total = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Give the seconds until `amount` may be sent; 0 where it may be sent at once."""
        if self._limit is None:
            return 0.0
        while self._sent and self._sent[0].at <= now - _MINUTE:
            self._total -= self._sent[0].amount
            self._sent.popleft().is_over = True
        if not self._sent:
            self._total = 0.0  # whatever rounding left
        left = self._total
        wait = 0.0
        for sent in self._sent:
            if left + amount <= self._limit:
                break
            left -= sent.amount
            wait = sent.at + _MINUTE - now
        return wait

    def take(self, now: float, amount: float) -> Sent:
        """Count `amount` as sent."""
        sent = Sent(now, amount)
        if self._limit is not None:
            self._sent.append(sent)
            self._total += amount
        return sent

    def correct(self, sent: Sent, amount: float) -> None:
        """Count `amount` instead of what was taken, now that it is known."""
        if self._limit is not None and not sent.is_over:
            self._total += amount - sent.amount
        sent.amount = amount


class Quota:
    """What the provider's headers say is left, less what was sent since; no bound until they do.

    Providers count a call when it arrives, so a reply tells what was left when its call was sent.
    What is left grows as OpenAI's does, evenly. Where a provider gives all of it back at once, its
    headers say so when it has.
    """

    def __init__(self) -> None:
        self._limit = math.inf
        self._rate = math.inf
        self._left = math.inf
        """What was left at `_counted_at`."""
        self._counted_at = 0.0
        self._told_at = -math.inf
        self._sent = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Give the seconds until `amount` may be sent; 0 where it may be sent at once."""
        short = min(amount, self._limit) - self._left_at(now)
        return short / self._rate if short > 0 else 0.0

    def take(self, now: float, amount: float) -> None:
        """Count `amount` as sent."""
        self._left = self._left_at(now) - amount
        self._counted_at = now
        self._sent += amount

    @property
    def sent(self) -> float:
        """All that was sent so far."""
        return self._sent

    def told(self, told: "Told", as_of: float, sent: float) -> None:
        """Believe `told`, in the reply to a call after which, at `as_of`, `sent` was all sent."""
        if as_of < self._told_at:
            return  # a later call knows more
        self._limit = told.limit
        self._left = told.remaining - (self._sent - sent)
        self._counted_at = self._told_at = as_of
        # A limit may be one a day instead: then it takes longer to be whole again.
        used = told.limit - told.remaining
        growth = used / told.reset if used > 0 and told.reset > 0 else math.inf
        self._rate = min(told.limit / 60, growth)

    def _left_at(self, now: float) -> float:
        if self._left == math.inf:
            return math.inf
        return min(self._limit, self._left + (now - self._counted_at) * self._rate)


@dataclass(frozen=True, slots=True)
class Told:
    """One limit, as the headers of a reply tell it."""

    limit: float
    """Most that may be used, a minute unless `reset` says otherwise; above 0."""
    remaining: float
    """Of these, not used yet."""
    reset: float
    """Seconds until all of it is there again; 0 where that is not known."""


def read_limit(headers: Mapping[str, str], of_what: str) -> Told | None:
    """Read the limit of `of_what`, requests or tokens; None where the headers tell of none.

    The names are OpenAI's, which most others took over. Some send 0 or -1 for "no limit".
    """
    limit = _number(headers.get(f"x-ratelimit-limit-{of_what}"))
    remaining = _number(headers.get(f"x-ratelimit-remaining-{of_what}"))
    if limit is None or remaining is None or limit <= 0 or not 0 <= remaining <= limit:
        return None
    return Told(limit, remaining, read_duration(headers.get(f"x-ratelimit-reset-{of_what}")))


def read_duration(text: str | None) -> float:
    """Read seconds from `6m0s`, `1.5s`, `12ms` or `30`, at most a day; 0 where it is none."""
    if text is None:
        return 0.0
    if _DURATION.fullmatch(text.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        seconds = _number(text) or 0.0
    return seconds if 0 <= seconds <= _UNITS["d"] else 0.0


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
