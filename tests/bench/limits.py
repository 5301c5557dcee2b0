"""Rate limits as providers have them: 300 calls a minute, by bucket or by window."""

import math
from collections.abc import Mapping
from typing import Protocol

CALLS = 300
SECONDS = 60.0

_GENEROUS = {
    "x-ratelimit-limit-requests": "30000",
    "x-ratelimit-remaining-requests": "29999",
    "x-ratelimit-reset-requests": "2ms",
    "x-ratelimit-limit-tokens": "150000000",
    "x-ratelimit-remaining-tokens": "149999000",
    "x-ratelimit-reset-tokens": "0s",
}
"""What a large account is told: nothing to wait for, but something to read."""


class Limit(Protocol):
    """What a provider allows. Times are seconds from any origin."""

    def take(self, now: float) -> bool:
        """Whether a call that comes now is allowed."""

    def told(self, now: float) -> Mapping[str, str]:
        """Give the headers that tell what is left."""

    def wait(self, now: float) -> float:
        """Give the seconds until a call is allowed."""


class Unlimited:
    """Everything is allowed."""

    def take(self, now: float) -> bool:
        return True

    def told(self, now: float) -> Mapping[str, str]:
        return _GENEROUS

    def wait(self, now: float) -> float:
        return 0.0


class Bucket:
    """Holds CALLS, and fills evenly within SECONDS."""

    def __init__(self) -> None:
        self._left = float(CALLS)
        self._as_of = 0.0

    def take(self, now: float) -> bool:
        self._left = min(CALLS, self._left + (now - self._as_of) * CALLS / SECONDS)
        self._as_of = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def told(self, now: float) -> Mapping[str, str]:
        return _headers(int(self._left), (CALLS - self._left) * SECONDS / CALLS)

    def wait(self, now: float) -> float:
        return max(0.0, 1 - self._left) * SECONDS / CALLS


class Window:
    """CALLS in each SECONDS, counted from the first call on."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._used = 0

    def take(self, now: float) -> bool:
        if self._start is None:
            self._start = now
        if over := (now - self._start) // SECONDS:
            self._start += over * SECONDS
            self._used = 0
        if self._used >= CALLS:
            return False
        self._used += 1
        return True

    def told(self, now: float) -> Mapping[str, str]:
        return _headers(CALLS - self._used, self.wait(now))

    def wait(self, now: float) -> float:
        return 0.0 if self._start is None else self._start + SECONDS - now


def _headers(left: int, reset: float) -> Mapping[str, str]:
    return {
        "x-ratelimit-limit-requests": str(CALLS),
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": f"{math.ceil(reset * 1000) / 1000:g}s",
    }
