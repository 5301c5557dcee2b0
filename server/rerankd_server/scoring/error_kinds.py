"""What a provider's error means: one of our errors, a failure that may pass, a refused parameter.

Codes count first, then words. Words may quote what was sent, so a document could talk its way into
another kind of error: a phrase that the call itself holds says nothing.
"""

import re
from collections.abc import Iterable, Sequence

from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    QuotaSpentError,
    RequestRejectedError,
)
from rerankd_server.scoring.error_report import UNKNOWN, ErrorReport
from rerankd_server.scoring.parameters import MAX_TOKENS, MORE_TOKENS, named_parameters
from rerankd_server.scoring.redirects import quotes
from rerankd_server.scoring.retrying import PassingError


def _plain(codes: Iterable[str]) -> frozenset[str]:
    """Return codes in the one spelling in which they are compared: InvalidApiKey, invalid_api_key.

    What stands before a point says enough: Throttling.RateQuota.
    """
    both = (part for code in codes for part in (code, code.partition(".")[0]))
    return frozenset(re.sub(r"[\W_]+", "", code).lower() for code in both)


_DECLINED = _plain(
    (
        *("content_filter", "content_policy_violation", "responsible_ai_policy_violation"),
        *("data_inspection_failed", "prohibited_content", "content_blocked", "moderation_blocked"),
    )
)
"""Codes that are an answer: the provider will not let the model see this document."""
_KEY = _plain(
    (
        *("invalid_api_key", "api_key_invalid", "authentication_error", "unauthenticated"),
        *("invalid_authentication", "invalid_authentication_error", "unauthorized"),
        *("incorrect_api_key", "invalid_key", "expired_api_key", "api_key_expired"),
        *("account_deactivated", "unrecognized_client_exception", "invalid_iam_token"),
        *("invalid_token", "token_expired", "expired_token_exception", "missing_api_key"),
        *("api_key_missing", "invalid_signature_exception", "api_key_service_blocked"),
        "consumer_suspended",
    )
)
_SPENT = _plain(
    (
        *("insufficient_quota", "insufficient_balance", "insufficient_credits", "billing_error"),
        *("billing_hard_limit_reached", "billing_not_active", "payment_required", "arrearage"),
        *("credit_balance_too_low", "insufficient_funds", "exceeded_current_quota_error"),
        *("insufficient_user_quota", "credits_exhausted", "out_of_credits", "budget_exceeded"),
    )
)
_LIMITED = _plain(
    (
        *("rate_limit_exceeded", "rate_limit_error", "rate_limited", "rate_limit_reached"),
        *("resource_exhausted", "too_many_requests", "throttling_exception", "throttling"),
        *("requests_limit_exceeded", "throttling_error", "rate_limit"),
    )
)
_NO_MODEL = _plain(
    (
        *("model_not_found", "model_not_available", "deployment_not_found", "model_not_exist"),
        *("invalid_model", "unknown_model"),
    )
)

_DECLINED_WORDS = re.compile(
    r"content[ _-]?(?:filter|management policy|policy|moderation)|safety (?:filter|system|policy)"
    r"|may contain inappropriate|was flagged|requires moderation|敏感内容",
    re.IGNORECASE,
)
_KEY_NAME = (
    r"(?:api(?: secret)?[ _-]?key|(?:api|access|security|auth(?:entication|orization)?|bearer)"
    r"[ _-]?token|credentials?|authentication|authorization header|subscription key)"
)
_KEY_WORDS = re.compile(
    rf"{_KEY_NAME}\b[^.\n]{{0,40}}\b(?:not valid|invalid|incorrect|expired|missing|required"
    r"|rejected|revoked|not found|fail(?:s|ed|ure)|leaked|disabled|denied|wrong|not provided)"
    r"|\b(?:invalid|incorrect|expired|missing|no|wrong|bad|unknown|malformed|revoked|valid)\b"
    rf"[^.\n]{{0,24}}\b{_KEY_NAME}\b"
    r"|\bunauthori[sz]ed\b|\bunauthenticated\b|\bnot authenticated\b|\blogin fail"
    r"|\bunregistered callers\b",
    re.IGNORECASE,
)
_SPENT_WORDS = re.compile(
    r"credit balance|insufficient[ _](?:credit|balance|fund|quota|account balance)"
    r"|balance (?:is )?(?:insufficient|not enough|too low)"
    r"|(?:out of|not enough|no more|no remaining|don't have any) credit"
    r"|(?:requires?|need) more credits|billing (?:hard )?limit|spending limit|payment required"
    r"|add (?:more )?credits|purchase (?:more )?credits|no credits (?:left|remain|available)"
    r"|budget has been exceeded"
    r"|余额不足|欠费",
    re.IGNORECASE,
)
_LIMITED_WORDS = re.compile(r"rate[ _-]?limit|too many requests", re.IGNORECASE)
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
"""What some say, as a limit of rates, of a call that alone is above it."""
_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|maximum context|prompt is too long|input is too long"
    r"|too many (?:input )?tokens|inputs?`? tokens? (?:count )?(?:must|exceed|\+)|reduce the length"
    r"|exceed\w* (?:the )?(?:maximum|max|available|model)[^.\n]{0,40}(?:tokens?|context|length)"
    r"|(?:input|prompt)[^.\n]{0,40}exceed|must have less than [0-9]+ tokens",
    re.IGNORECASE,
)
_PLAIN_HTTP = re.compile(r"http request[^.\n]{0,40}https (?:server|port)", re.IGNORECASE)
"""What a server says that speaks TLS alone."""
_NO_MODEL_WORDS = re.compile(
    r"model\b[^.\n]{0,80}\b(?:does not exist|not exist|not found|decommissioned|is not available"
    r"|not supported)|(?:unknown|invalid) model",
    re.IGNORECASE,
)
"""What is said of a model that is not there, by those that name it as the parameter."""
_PLAINLY_NO_MODEL = re.compile(
    r"(?:no such|not a valid) model|model (?:identifier|id) is invalid|model does not exist"
    r"|model not exist|model not found",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?P<mark>['\"`])(?P<quoted>[^\n]{4,400}?)(?:\.{3}|…)?(?P=mark)")

_BY_WORDS = (UNKNOWN, 400, 403)
"""Statuses that say so little that words count."""
_PASSING = (UNKNOWN, 408, 409, 424, 425)
_REFUSALS = (400, 403, 404, 422, 501)
"""Statuses of calls that may be taken where they are written otherwise."""


class DeclinedError(Exception):
    """The provider will not let the model see what was sent: that is an answer.

    `rejected` is what it comes to where no answer can be that.
    """

    def __init__(self, rejected: RequestRejectedError) -> None:
        super().__init__(str(rejected))
        self.rejected = rejected


class RefusedCallError(Exception):
    """The provider refuses the call as it was written; written otherwise it may be taken.

    `parameters` are those that it complains about, in the order in which it does; none where it
    names none. `otherwise` is what the refusal comes to where nothing can be given up.
    """

    def __init__(
        self, parameters: list[str], otherwise: ProviderError | PassingError, *, may_be_bare: bool
    ) -> None:
        super().__init__(str(otherwise))
        self.parameters = parameters
        self.otherwise = otherwise
        self.may_be_bare = may_be_bare
        """Whether the least that can be sent is worth a try."""


class _Said:
    """What a report says, but for what merely quotes the call that held the text `sent`."""

    def __init__(self, report: ErrorReport, sent: str) -> None:
        self._sent = sent.lower()
        self._words = _QUOTED.sub(
            lambda match: "\n" if match["quoted"].lower() in self._sent else match[0], report.words
        )
        own = (code for code in report.quoted_codes if code not in self._sent)
        self.codes = _plain((*report.codes, *own))
        told = (pause for words, pause in report.said_pauses if words.lower() not in self._sent)
        self.pause = next(told, None) if report.pause is None else report.pause

    def __call__(self, pattern: re.Pattern[str]) -> bool:
        """Return whether the provider says this itself."""
        return any(match[0].lower() not in self._sent for match in pattern.finditer(self._words))


def error_of(
    report: ErrorReport, sent: str, who: str, key_from: str, own: Sequence[str] = ()
) -> Exception:
    """Return what `report` means for a call that held the text `sent`.

    `who` names the provider, and `key_from` where its key is from, in messages; `own` are the
    members of the call that the settings add. The error is a DeclinedError, a RefusedCallError, a
    PassingError or a ProviderError.
    """
    said = _Said(report, sent)
    number = str(report.status) if report.status else "with an error"
    what = f"answers {number} {report.code}" if report.code else f"answers {number}"
    return (
        _redirect(report, sent, f"{who} answers {number}")
        or _answer(report.status, said, f"{who} {what}")
        or _of_account(report.status, said, f"{who} {what}", key_from)
        or _passing(report, said, what, who)
        or _refusal(report, said, f"{who} {what}", own)
    )


def _redirect(report: ErrorReport, sent: str, what: str) -> Exception | None:
    """Return the error of a call that is to be sent elsewhere: whatever the rest says, it is not.

    The host is named unless a part of it was in the call.
    """
    if not 300 <= report.status < 400:
        return None
    host = report.redirects_to
    if host is None:
        return _rejected(f"{what}, which answers no call; set `base_url` to where the API is")
    to = f" to {host}" if host and not quotes(host, sent) else ""
    return _rejected(
        f"{what}: it redirects{to}, and nothing is sent there; set `base_url` to where the API is"
    )


def _answer(status: int, said: _Said, what: str) -> Exception | None:
    """Return the error that stands for an answer: the provider declines the document."""
    is_declined = status in (*_BY_WORDS, 422, 451) and said(_DECLINED_WORDS)
    if said.codes & _DECLINED or is_declined:
        return DeclinedError(RequestRejectedError(f"{what}: it declines the document"))
    return None


def _of_account(status: int, said: _Said, what: str, key_from: str) -> Exception | None:
    """Return the error of every call with this key; codes of spent credit come as 401, too."""
    by_words = status in _BY_WORDS
    is_key = status == 401 or said.codes & _KEY or (by_words and said(_KEY_WORDS))
    if is_key and not said.codes & _SPENT:
        return KeyRejectedError(f"{what}: it refuses the key; check {key_from} on the server")
    by_words = by_words or (status == 429 and said.pause is None)
    if status == 402 or said.codes & _SPENT or (by_words and said(_SPENT_WORDS)):
        return QuotaSpentError(f"{what}: the account's quota is spent; add credit there")
    return None


def _passing(report: ErrorReport, said: _Said, what: str, who: str) -> Exception | None:
    """Return the error of a call that may be answered later, as it is or written otherwise."""
    status = report.status
    is_limited = status == 429 or bool(said.codes & _LIMITED)
    if status == 413 or (is_limited and said(_TOO_LARGE)):
        return None
    if is_limited or (status in _BY_WORDS and said(_LIMITED_WORDS)):
        return PassingError(what, rate_limited=True, retry_after=said.pause, who=who)
    if status == 407:
        return PassingError("cannot be reached: the proxy asks for a password", who=who)
    if status not in _PASSING and (status < 500 or status == 501):
        return None
    if status in (UNKNOWN, 500) and (said(_TOO_LONG) or _has_no_model(report, said)):
        return None
    failed = PassingError(what, retry_after=said.pause, who=who, status=status)
    names = _named(report) if status in (UNKNOWN, 500) else []
    return RefusedCallError(names, failed, may_be_bare=False) if names else failed


def _refusal(report: ErrorReport, said: _Said, what: str, own: Sequence[str]) -> Exception:
    """Return the error of a call that is refused, now and later."""
    status = report.status
    if said(_PLAIN_HTTP):
        return _rejected(f"{what}: it wants https; write `base_url` with https://")
    names = _named(report)
    has_no_model = _has_no_model(report, said)
    added = None if names else next((n for n in own if _is_named(n, report, said)), None)
    if added and status in _REFUSALS:
        return _rejected(f"{what}: it refuses `{added}`, which the settings on the server add")
    if has_no_model:
        rejected = _rejected(
            f"{what}: it refuses the call; check `model` and `base_url` on the server"
        )
    else:
        rejected = RequestRejectedError(
            f"{what}: it refuses the call; check `model` and `base_url` on the server, what the "
            "key is allowed, and that the document is not too long for the model"
        )
    is_too_long = said(_TOO_LONG) or any(map(_TOO_LONG.search, report.codes))
    if status not in _REFUSALS or is_too_long or (has_no_model and not names):
        return rejected
    return RefusedCallError(names, rejected, may_be_bare=status not in (403, 404))


def _rejected(message: str) -> RequestRejectedError:
    """Return the error of a call that is refused as every other would be."""
    return RequestRejectedError(message, stops_everything=True)


def _named(report: ErrorReport) -> list[str]:
    """Return the parameters that a report complains about.

    Also where the words merely quote a document: what is given up then is not remembered, since the
    call is refused all the same.
    """
    texts = (*report.names, *report.codes, report.words)
    found = dict.fromkeys(name for text in texts for name in named_parameters(text))
    if MORE_TOKENS in found:
        found.pop(MAX_TOKENS, None)
    return list(found)


def _is_named(name: str, report: ErrorReport, said: _Said) -> bool:
    """Return whether a report complains about the member `name`, in quotes where it is a word."""
    plain = re.escape(name)
    as_word = rf"|\b{plain}\b" if "_" in name else ""
    return name in report.names or said(re.compile(rf"['\"`]{plain}['\"`]{as_word}"))


def _has_no_model(report: ErrorReport, said: _Said) -> bool:
    """Return whether every other call would be refused too: there is no such model, or address."""
    if report.status in (404, 405) or said.codes & _NO_MODEL:
        return True
    if report.status in (UNKNOWN, 400) and said(_PLAINLY_NO_MODEL):
        return True
    return "model" in report.names and said(_NO_MODEL_WORDS)
