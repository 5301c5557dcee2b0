"""Trying again: which failures may pass, and how long to wait before the next attempt.

What the provider asks all calls to wait for is the dispatcher's.
"""

import random

from rerankd_server.errors import ProviderError, ProviderUnavailableError, RateLimitedError

THE_PROVIDER = "the model's provider"
"""What a provider without a name is called in messages."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
"""Seconds. To the pause of one call, up to as much as the first is added by chance."""
_NEXT_TRY = 1.0
"""Seconds after which a caller may try again, where the provider does not say."""


def doubling(times: int, longest: float) -> float:
    """Give the seconds of a pause that doubled so many times, from half a second to `longest`."""
    pause = _FIRST_PAUSE
    while times > 0 and pause < longest:  # not by a power, which overflows in a long outage
        pause *= 2
        times -= 1
    return min(pause, longest)


class PassingError(Exception):
    """Something that another attempt may not meet: a limit, an overload, a broken connection.

    `what` says what `who`, the provider, does.
    """

    def __init__(
        self,
        what: str,
        *,
        rate_limited: bool = False,
        retry_after: float | None = None,
        who: str = THE_PROVIDER,
        status: int = 0,
    ) -> None:
        super().__init__(what)
        self.status = status
        """Of HTTP; 0 where there was none."""
        self.who = who
        self.rate_limited = rate_limited
        self.retry_after = retry_after

    @property
    def concerns_all(self) -> bool:
        """Whether the provider asks all calls to wait, and not this one alone."""
        return self.rate_limited or self.retry_after is not None

    def pause(self, attempts: int) -> float:
        """Give the seconds that this call alone waits, after so many attempts."""
        if self.concerns_all:
            return 0.0
        pause = doubling(attempts - 1, _LONGEST_PAUSE)
        return pause + random.uniform(0, _FIRST_PAUSE)  # noqa: S311  # so that not all come at once

    def final(self, attempts: int) -> ProviderError:
        """Say the same to a caller, after the last attempt."""
        times = f"{attempts} attempts" if attempts > 1 else "1 attempt"
        return self.as_error(times, _NEXT_TRY if self.retry_after is None else self.retry_after)

    def refusal(self, seconds: float) -> ProviderError:
        """Say the same to a caller for whom nothing is sent, for another `seconds`."""
        return self.as_error("no call is sent for now", max(seconds, _NEXT_TRY))

    def as_error(self, how: str, retry_after: float) -> ProviderError:
        """Give the error that a caller gets; `how` says how hard we tried."""
        if self.rate_limited:
            return RateLimitedError(
                f"{self.who} asks for fewer calls ({self}; {how}); call again later, "
                "or set `requests_per_minute` on the server to what the provider allows",
                retry_after,
            )
        return ProviderUnavailableError(
            f"{self.who} {self} ({how}); call again later, or check `base_url`",
            retry_after,
            status=self.status,
        )
