"""When to ask a provider again that is in trouble, and how many calls then go together.

When it asks for fewer calls, all pause, for as long as it says, or for longer each time. When it
fails too often in a row it is given up on: all pause as well, but nobody waits for the end of that.
After a pause one call goes first. While calls succeed more go together, as in TCP: twice as many
each round up to half of what it was before, then one more each round.
"""

import copy

from rerankd_server.errors import ProviderError
from rerankd_server.scoring.retrying import PassingError, doubling

_PATIENCE = 10
"""Failures in a row after which a provider is given up on."""
_LONGEST_PAUSE = 16.0
"""Seconds. Pauses double up to this, where the provider names none."""


class Backoff:
    """Bounds the calls to one provider that fails; `concurrency` is the most in good times.

    Times are seconds from any origin. An era is what lies between two pauses: what becomes of a
    call says something about the era that it was sent in.
    """

    def __init__(self, concurrency: int) -> None:
        self.era = 0
        self.given_up = False
        """Whether nobody is to wait for the end of the pause; until a call succeeds."""
        self._concurrency = concurrency
        self._together = float(concurrency)
        """Most calls of this era in flight."""
        self._doubles_until = float(concurrency)
        self._in_flight = 0
        """Calls of this era in flight."""
        self._paused_until = 0.0
        self._pauses = 0
        """Pauses without a success between them."""
        self._failures = 0
        """Failures without a success between them."""
        self._trouble: PassingError | ProviderError | None = None
        """What the last pause was for."""

    @property
    def is_full(self) -> bool:
        """Whether no more calls may go together."""
        return self._in_flight >= int(self._together)

    def wait(self, now: float) -> float:
        """Give the seconds that are left of the pause."""
        return max(0.0, self._paused_until - now)

    def refusal(self, now: float, longest_wait: float) -> ProviderError | None:
        """Give what to tell whoever has a call to send, where waiting is not worth it."""
        left = self.wait(now)
        first_is_out = self._in_flight > 0
        if self._trouble is None or not (
            left > longest_wait or (self.given_up and (left > 0 or first_is_out))
        ):
            return None
        if isinstance(self._trouble, PassingError):
            return self._trouble.refusal(left)
        return copy.copy(self._trouble)  # each that is raised keeps its own traceback

    def sent(self) -> int:
        """Count a call that is sent; gives its era."""
        self._in_flight += 1
        return self.era

    def ended(self, era: int) -> None:
        """Count a call that has ended, however it did."""
        if era == self.era:
            self._in_flight -= 1

    def answered(self, era: int) -> None:
        """Note that a call was answered."""
        self._failures = 0
        if era != self.era:
            return
        self._pauses = 0
        self._trouble = None
        self.given_up = False
        more = 1 if self._together < self._doubles_until else 1 / self._together
        self._together = min(self._concurrency, self._together + more)

    def failed(self, era: int, error: PassingError | ProviderError, now: float) -> None:
        """Note that a call failed. A ProviderError is one that every other call would meet too."""
        if not (isinstance(error, PassingError) and error.rate_limited):
            self._failures += 1
        hopeless = isinstance(error, ProviderError) or self._failures >= _PATIENCE or self.given_up
        concerns_all = isinstance(error, PassingError) and error.concerns_all
        asked_until = now + (error.retry_after or 0.0)
        is_news = asked_until > max(now, self._paused_until)
        if era == self.era and (hopeless or concerns_all):
            self._pause(error, now)
            self.given_up = hopeless
        elif is_news and self._paused_until <= now:
            self._pause(error, now)
        if is_news:
            self._paused_until = max(self._paused_until, asked_until)
            self._trouble = error

    def _pause(self, error: PassingError | ProviderError, now: float) -> None:
        """End the era."""
        # What the provider says is enough, the first time.
        first = self._pauses == 0 and error.retry_after is not None
        pause = 0.0 if first else doubling(self._pauses, _LONGEST_PAUSE)
        self._paused_until = now + pause
        self._pauses += 1
        self._trouble = error
        if self._together > 1:
            self._doubles_until = self._together / 2
        self._together = 1.0
        self._in_flight = 0
        self.era += 1
