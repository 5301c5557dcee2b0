"""THE table from our errors to gRPC statuses, and how a status is sent.

Every failed call ends here: with a code, a message fit for a person, and google.rpc details fit for
a program (ErrorInfo always; BadRequest, PreconditionFailure, RetryInfo where they say more). gRPC's
own retrying, where a client has set it up, reads none of that: it is told by a trailer.
"""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

import grpc
from rerankd_server import errors
from rerankd_server.logs import log_defect

_log = structlog.get_logger()

DOMAIN = "rerankd"

_CODES = grpc.StatusCode
_TABLE: dict[type[errors.RerankdError], tuple[grpc.StatusCode, str]] = {
    errors.InvalidRequestError: (_CODES.INVALID_ARGUMENT, "INVALID_REQUEST"),
    errors.UnknownModelError: (_CODES.NOT_FOUND, "UNKNOWN_MODEL"),
    errors.IncompleteError: (_CODES.FAILED_PRECONDITION, "INCOMPLETE"),
    errors.OutOfTimeError: (_CODES.DEADLINE_EXCEEDED, "OUT_OF_TIME"),
    errors.KeyRejectedError: (_CODES.FAILED_PRECONDITION, "KEY_REJECTED"),
    errors.RequestRejectedError: (_CODES.FAILED_PRECONDITION, "REQUEST_REJECTED"),
    errors.QuotaSpentError: (_CODES.RESOURCE_EXHAUSTED, "QUOTA_SPENT"),
    errors.RateLimitedError: (_CODES.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    errors.OverloadedError: (_CODES.RESOURCE_EXHAUSTED, "OVERLOADED"),
    errors.ProviderUnavailableError: (_CODES.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
    errors.ShuttingDownError: (_CODES.UNAVAILABLE, "SHUTTING_DOWN"),
    errors.ServerBusyError: (_CODES.RESOURCE_EXHAUSTED, "SERVER_BUSY"),
}
_DEFECT = (_CODES.INTERNAL, "INTERNAL")

_MOST_VIOLATIONS = 20
"""How many violations a status lists: it travels in a header, which holds 8 KiB."""

Context = grpc.aio.ServicerContext[Any, Any]


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the status that `error` stands for; raises what gRPC ends it with."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, errors.RerankdError):
        log_defect(error)
    code, reason, message, details = _describe(error)
    _log.debug("failed", status=code.name, reason=reason)
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in (details_pb.ErrorInfo(reason=reason, domain=DOMAIN), *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    trailers = [("grpc-status-details-bin", status.SerializeToString())]
    if isinstance(error, errors.ProviderError | errors.ServerBusyError):
        trailers.append(("grpc-retry-pushback-ms", _pushback(error, context.time_remaining())))
    await context.abort(code, message, trailing_metadata=tuple(trailers))


def _pushback(error: errors.ProviderError | errors.ServerBusyError, remaining: float | None) -> str:
    """Say after how many milliseconds a client that retries by itself may do so; -1: it may not.

    Not where it would wait until its deadline, only to learn nothing. See gRFC A6.
    """
    seconds = error.retry_after
    if seconds is None or (remaining is not None and seconds >= remaining):
        return "-1"
    return str(math.ceil(seconds * 1000))


def _describe(error: Exception) -> tuple[grpc.StatusCode, str, str, Sequence[Message]]:
    """Give the code, the reason, the message and the further details for `error`."""
    row = _TABLE.get(type(error)) if isinstance(error, errors.RerankdError) else None
    if row is None:
        return *_DEFECT, str(errors.DefectError()), ()
    return *row, str(error), _details(error)


def _details(error: Exception) -> Sequence[Message]:
    match error:
        case (
            errors.InvalidRequestError(violations=violations)
            | errors.UnknownModelError(violations=violations)
        ):
            bad = details_pb.BadRequest()
            for violation in _first(violations):
                bad.field_violations.add(field=violation.field, description=violation.description)
            return [bad]
        case errors.IncompleteError(unscored=unscored):
            failure = details_pb.PreconditionFailure()
            for violation in _first(unscored):
                failure.violations.add(
                    type="UNSCORED", subject=violation.field, description=violation.description
                )
            return [failure]
        case (
            errors.ProviderError(retry_after=float(seconds))
            | errors.ServerBusyError(retry_after=float(seconds))
        ):
            delay = Duration()
            delay.FromNanoseconds(round(seconds * 1e9))
            return [details_pb.RetryInfo(retry_delay=delay)]
    return []


def _first(violations: Sequence[errors.Violation]) -> Sequence[errors.Violation]:
    """Give the first violations, and in place of the others their number."""
    more = len(violations) - _MOST_VIOLATIONS
    if more <= 0:
        return violations
    rest = errors.Violation("documents", f"and {more:,} more like these")
    return [*violations[:_MOST_VIOLATIONS], rest]
