"""Trying again: which failures may pass, how often to try, how long to wait.

Exponential backoff with jitter, unless the provider says when to come back. A wait longer than we
are willing to sit out is handed to the caller instead.
"""

import asyncio
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


class PassingError(Exception):
    """Something that another attempt may not meet: a limit, an overload, a broken connection."""

    def __init__(self, what: str, *, rate_limited: bool, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.rate_limited = rate_limited
        self.retry_after = retry_after

    def final(self, attempts: int) -> ProviderError:
        """Say the same to a caller, after the last attempt."""
        times = f"{attempts} attempts" if attempts > 1 else "1 attempt"
        retry_after = _NEXT_TRY if self.retry_after is None else self.retry_after
        if self.rate_limited:
            return RateLimitedError(
                f"the model's provider asks for fewer calls ({self}, {times}); "
                "call again later, or lower `concurrency`",
                retry_after,
            )
        return ProviderUnavailableError(
            f"the model's provider {self} ({times}); call again later, or check `base_url`",
            retry_after,
        )


def retrying(
    attempts: int,
    longest_wait: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncRetrying:
    """Give attempts to iterate over: at most `attempts`, as long as they end in PassingErrors.

    Raises the last one's `final` error, at once where the provider asks to wait for longer than
    `longest_wait` seconds.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(PassingError),
        stop=stop_after_attempt(attempts),
        wait=_Pauses(longest_wait),
        sleep=sleep,
        retry_error_callback=_raise_last,
    )


class _Pauses:
    """How long to wait before the next attempt: as told, or exponentially longer with jitter."""

    def __init__(self, longest_wait: float) -> None:
        self._backoff = wait_exponential_jitter(
            multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE, jitter=_FIRST_PAUSE
        )
        self._longest_wait = longest_wait

    def __call__(self, state: RetryCallState) -> float:
        """Give the seconds to wait; raise where the provider asks for more than we wait for."""
        error = _last_error(state)
        if error.retry_after is None:
            return self._backoff(state)
        if error.retry_after > self._longest_wait:
            raise error.final(state.attempt_number)
        return error.retry_after


def _last_error(state: RetryCallState) -> PassingError:
    assert state.outcome is not None
    return cast("PassingError", state.outcome.exception())


def _raise_last(state: RetryCallState) -> None:
    raise _last_error(state).final(state.attempt_number)
