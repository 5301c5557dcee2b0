"""Everything that rerankd raises on purpose.

RerankdError
├── ConfigError               a setting is wrong: the server does not start
├── InvalidRequestError       fields of a request break the API's rules
├── UnknownModelError         a request names a model that is not served
├── IncompleteError           a request wants every score, and some cannot be had
├── OutOfTimeError            a request wants every score, and its time is over
├── ShuttingDownError         the server stopped before the call was answered
├── ServerBusyError           the server takes no more calls, or bytes, at once
└── ProviderError             the model's provider did not give a score
    ├── KeyRejectedError      it refuses the key
    ├── RequestRejectedError  it refuses the call itself
    ├── QuotaSpentError       the account has no credit left
    ├── RateLimitedError      it asks for fewer calls
    ├── ProviderUnavailableError  it cannot be reached, or fails
    ├── OverloadedError       it is not asked: too many pairs wait for it already
    └── DefectError           we failed on one document; its log line says where

`api/status.py` holds the one table from these to gRPC statuses. Messages never hold a key, a query,
a document, or a provider's own words, which may quote any of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class RerankdError(Exception):
    """Base of every error that rerankd raises on purpose; `str()` is fit for a caller's eyes."""


class ConfigError(RerankdError):
    """A setting is wrong; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one field of a request breaks."""

    field: str
    """Path of the field, as in the proto: `documents[3].text`."""
    description: str


class InvalidRequestError(RerankdError):
    """A request breaks the API's rules; `violations` holds each broken rule, at least one."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1:,} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{more}")
        self.violations = tuple(violations)


def unreadable(what: str) -> InvalidRequestError:
    """Return the error of a request that, as a whole, does or is `what`."""
    return InvalidRequestError([Violation("request", what)])


class UnknownModelError(RerankdError):
    """A request names a model that this server does not serve; `known` are those that it does."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        said = f"{name[:80]!r} is not served here; this server has {', '.join(map(repr, known))}"
        super().__init__(f"model: {said}")
        self.violations = (Violation("model", said),)


class IncompleteError(RerankdError):
    """`require_complete` was asked for, and the documents in `unscored` have no score."""

    def __init__(self, unscored: Sequence[Violation]) -> None:
        super().__init__(
            f"{len(unscored):,} of the documents have no score, first {unscored[0].field}: "
            f"{unscored[0].description}; leave require_complete unset to get the others ranked"
        )
        self.unscored = tuple(unscored)


class OutOfTimeError(RerankdError):
    """`require_complete` was asked for, and the call's time was over before every score was in."""

    def __init__(self, pending: int) -> None:
        super().__init__(
            f"{pending:,} of the documents were still being scored when the call's time was over; "
            "call again, or leave require_complete unset to get what there is"
        )


class ShuttingDownError(RerankdError):
    """The server stopped before the call was answered."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; call again, or call another one")


class ServerBusyError(RerankdError):
    """The server takes no more at once, or a request takes too long to arrive."""

    retry_after: float = 1.0
    """Seconds after which a caller may try again."""


class ProviderError(RerankdError):
    """The provider did not give a score."""

    retry_after: float | None = None
    """Seconds after which a caller may try again; None where trying again will not help."""

    stops_everything: bool = False
    """Whether every further call would fail in the same way, so that none is worth sending."""


class KeyRejectedError(ProviderError):
    """The provider refuses the key (401)."""

    stops_everything = True


class RequestRejectedError(ProviderError):
    """The provider refuses the call itself (other 4xx)."""

    def __init__(self, message: str, *, stops_everything: bool = False) -> None:
        super().__init__(message)
        self.stops_everything = stops_everything


class QuotaSpentError(ProviderError):
    """The provider's account has no credit left (429 `insufficient_quota`, 402)."""

    stops_everything = True


class RateLimitedError(ProviderError):
    """The provider asks for fewer calls (429), after every attempt."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderUnavailableError(ProviderError):
    """The provider cannot be reached or fails (408, 409, 5xx, connection), after every attempt.

    `status` is HTTP's, 0 where there was none.
    """

    def __init__(self, message: str, retry_after: float, status: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class OverloadedError(ProviderError):
    """The provider is not asked, because `waiting` pairs wait for it already."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(
            f"{waiting:,} pairs wait for the model's provider already; call again later, or raise "
            "`max_queue` on the server"
        )
        self.retry_after = retry_after


class DefectError(ProviderError):
    """A defect of ours that struck one document; the others go on."""

    def __init__(self) -> None:
        super().__init__("a defect in rerankd; its log says where")
