"""Trying again: which failures may pass, how often to try, how long to wait.

Exponential backoff with jitter. What the provider asks all calls to wait for is the dispatcher's.
"""

from collections.abc import Awaitable, Callable
from typing import cast

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from rerankd_server.errors import ProviderError, ProviderUnavailableError, RateLimitedError

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_NEXT_TRY = 1.0
"""Seconds after which a caller may try again, where the provider does not say."""

_backoff = wait_exponential_jitter(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE, jitter=_FIRST_PAUSE)


class PassingError(Exception):
    """Something that another attempt may not meet: a limit, an overload, a broken connection."""

    def __init__(self, what: str, *, rate_limited: bool, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.rate_limited = rate_limited
        self.retry_after = retry_after

    @property
    def concerns_all(self) -> bool:
        """Whether the provider asks all calls to wait, and not this one alone."""
        return self.rate_limited or self.retry_after is not None

    def final(self, attempts: int) -> ProviderError:
        """Say the same to a caller, after the last attempt."""
        times = f"{attempts} attempts" if attempts > 1 else "1 attempt"
        return self.told(times, _NEXT_TRY if self.retry_after is None else self.retry_after)

    def refusal(self, seconds: float) -> ProviderError:
        """Say the same to a caller for whom nothing is sent, for another `seconds`."""
        return self.told("no call is sent for now", max(seconds, _NEXT_TRY))

    def told(self, how: str, retry_after: float) -> ProviderError:
        """Give the error that a caller gets; `how` says how hard we tried."""
        if self.rate_limited:
            return RateLimitedError(
                f"the model's provider asks for fewer calls ({self}; {how}); call again later, "
                "or set `requests_per_minute` on the server to what the provider allows",
                retry_after,
            )
        return ProviderUnavailableError(
            f"the model's provider {self} ({how}); call again later, or check `base_url`",
            retry_after,
        )


def retrying(attempts: int, sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """Give attempts to iterate over: at most `attempts`, as long as they end in PassingErrors.

    Raises the last one's `final` error.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(PassingError),
        stop=stop_after_attempt(attempts),
        wait=_pause,
        sleep=sleep,
        retry_error_callback=_raise_last,
    )


def _pause(state: RetryCallState) -> float:
    """Give the seconds to wait before the next attempt, beside what all calls wait for."""
    return 0.0 if _last_error(state).concerns_all else _backoff(state)


def _last_error(state: RetryCallState) -> PassingError:
    assert state.outcome is not None
    return cast("PassingError", state.outcome.exception())


def _raise_last(state: RetryCallState) -> None:
    raise _last_error(state).final(state.attempt_number)
