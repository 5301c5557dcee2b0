"""What a call raises, and how it is read from a gRPC status.

RerankError
├── InvalidRequestError       the request breaks a rule; `violations` name each
├── UnknownModelError         the server has no such model
├── FailedPreconditionError   the server is set up wrong, or a ranking cannot be complete
├── ResourceExhaustedError    too much at once, or the quota is spent; `retry_after` says when again
├── UnavailableError          server or provider cannot be reached; `retry_after` says when again
└── DeadlineExceededError     the timeout passed
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

import grpc

_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one field breaks."""

    field: str
    """Path of the field, as in the proto: `documents[3].text`."""
    description: str


class RerankError(Exception):
    """Base of all that a call raises; itself raised for a status without a class of its own."""

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode,
        *,
        reason: str = "",
        retry_after: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC status code."""
        self.reason = reason
        """rerankd's reason, as listed in the proto, such as `KEY_REJECTED`; may be empty."""
        self.retry_after = retry_after
        """Seconds after which a new try may succeed, where the server told."""
        self.violations = violations
        """The rules that were broken, or the documents that stayed without a score."""


class InvalidRequestError(RerankError):
    """The request breaks a rule of the API."""


class UnknownModelError(RerankError):
    """The server has no model of that name."""


class FailedPreconditionError(RerankError):
    """Calling again will not help before something is changed; `reason` says what."""


class ResourceExhaustedError(RerankError):
    """Too much was asked at once, or the provider's quota is spent."""


class UnavailableError(RerankError):
    """The server, or the provider behind it, cannot be reached."""


class DeadlineExceededError(RerankError):
    """The timeout passed before the server answered."""


_DOMAIN = "rerankd"

_CLASSES: dict[grpc.StatusCode, type[RerankError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: UnknownModelError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}


# What to do where rerankd itself did not say it, because the call never got there.
_HINTS: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: (
        'cannot reach rerankd at {where}: {said}; is it running there? "rerankd serve" starts it'
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "rerankd at {where} did not answer in time: {said}; give the call more time"
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        "{said}; send fewer documents at once, or raise max_message_bytes on the server"
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        "what listens at {where} is no rerankd, or an older one: {said}"
    ),
}


def to_error(
    code: grpc.StatusCode,
    details: str | None,
    trailers: Iterable[tuple[str, str | bytes]] | None,
    where: str,
) -> RerankError:
    """Read a status from the server at the address `where`."""
    status = _status(trailers or ())
    info = _detail(status, details_pb.ErrorInfo)
    info = info if info and info.domain == _DOMAIN else None
    retry = _detail(status, details_pb.RetryInfo)
    said = details or code.name
    hint = "{said}" if info else _HINTS.get(code, "{said}")
    return _CLASSES.get(code, RerankError)(
        hint.format(where=where, said=said),
        code,
        reason=info.reason if info else "",
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        violations=_violations(status),
    )


def _status(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    for name, value in trailers:
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _violations(status: status_pb2.Status) -> Sequence[Violation]:
    if bad := _detail(status, details_pb.BadRequest):
        return [Violation(each.field, each.description) for each in bad.field_violations]
    if failure := _detail(status, details_pb.PreconditionFailure):
        return [Violation(each.subject, each.description) for each in failure.violations]
    return []


def _detail(status: status_pb2.Status, kind: type[_Detail]) -> _Detail | None:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            detail = kind()
            try:
                packed.Unpack(detail)
            except DecodeError:
                return None
            return detail
    return None
