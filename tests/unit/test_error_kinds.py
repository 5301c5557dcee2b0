"""What real-looking errors mean: bodies as providers, gateways and local servers send them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    QuotaSpentError,
    RequestRejectedError,
)
from rerankd_server.scoring.error_kinds import DeclinedError, RefusedCallError, error_of
from rerankd_server.scoring.error_report import error_in, read_report, report_of
from rerankd_server.scoring.parameters import (
    ENCODING,
    FORMAT,
    LOGPROBS,
    MAX_TOKENS,
    MORE_TOKENS,
    SYSTEM,
    TEMPERATURE,
)
from rerankd_server.scoring.retrying import PassingError

WHO, KEY_FROM = "the provider p", "P_API_KEY"
SENT = "Query: bees\n\nDocument: how do bees find their way?"


def meaning(status: int, body: Any, sent: str = SENT, own: tuple[str, ...] = ()) -> Exception:
    if status == 200:
        error = error_in(body)
        assert error is not None
        report = report_of(200, {}, error)
    else:
        written = body if isinstance(body, bytes) else json.dumps(body).encode()
        report = read_report(status, {}, written)
    return error_of(report, sent, WHO, KEY_FROM, own)


def openai(
    message: str, code: Any = None, kind: str = "invalid_request_error", **others: Any
) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **others}}


def google(code: int, message: str, status: str, *details: Any) -> Any:
    return [{"error": {"code": code, "message": message, "status": status, "details": [*details]}}]


def anthropic(kind: str, message: str) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def litellm(message: str, code: str, kind: Any = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": "None", "code": code}}


def openrouter(code: int, raw: Any = None, message: str = "Provider returned error") -> Any:
    metadata = {"provider_name": "P", "raw": raw if isinstance(raw, str) else json.dumps(raw)}
    return {"error": {"message": message, "code": code, "metadata": metadata}, "user_id": "u"}


def fastapi(*steps: Any, message: str = "Extra inputs are not permitted", **others: Any) -> Any:
    return {"detail": [{"type": "extra_forbidden", "loc": [*steps], "msg": message, **others}]}


KEYS = [
    (401, b""),
    (401, openai("Incorrect API key provided: sk-abc. You can find it at ...", "invalid_api_key")),
    (401, anthropic("authentication_error", "invalid x-api-key")),
    (401, {"message": "Unauthorized", "request_id": "a"}),
    (401, {"message": "invalid api token"}),
    (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}}),
    (401, {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "a"}),
    # as 400 or 403
    (
        400,
        google(
            *(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        ),
    ),
    (400, google(400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT")),
    (400, google(400, "Missing or invalid Authorization header.", "INVALID_ARGUMENT")),
    (
        403,
        google(403, "Your API key was reported as leaked. Use another one.", "PERMISSION_DENIED"),
    ),
    (403, google(403, "a", "PERMISSION_DENIED", {"reason": "API_KEY_SERVICE_BLOCKED"})),
    (400, openai("Incorrect API key provided: xa***ai. You can obtain it at ...")),
    (403, {"detail": "Not authenticated"}),
    (403, {"error": "Unauthorized"}),
    (403, {"message": "The security token included in the request is invalid."}),
    (403, {"message": "a", "__type": "com.amazon.coral.service#UnrecognizedClientException"}),
    (403, {"message": "Missing Authentication Token"}),
    (400, litellm('litellm.AuthenticationError: {"error": {"code": "invalid_api_key"}}', "400")),
    (400, {"error": {"message": "No api key passed in.", "type": "auth_error", "code": "400"}}),
    # under status 200
    (200, openai("Incorrect API key provided", "invalid_api_key")),
    (200, {"error": {"code": 401, "message": "No auth credentials found"}}),
    (200, {"code": 401, "msg": "token expired or incorrect", "success": False}),
    (200, {"error_code": 110, "error_msg": "Access token invalid or no longer valid"}),
    (200, {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail: ..."}}),
]

SPENT = [
    (402, b""),
    (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error")),
    (402, {"error": {"code": 402, "message": "Insufficient credits. Add more using ..."}}),
    (
        429,
        openai("You exceeded your current quota, ...", "insufficient_quota", "insufficient_quota"),
    ),
    (
        429,
        {"error": {"message": "Your account is suspended", "type": "exceeded_current_quota_error"}},
    ),
    (429, openai("Insufficient balance or no resource package. Please recharge.", "1113")),
    (429, openai("余额不足或无可用资源包,请充值。", "1113")),
    (401, openai("You have no funds", "insufficient_quota")),
    # as 400 or 403
    (400, anthropic("invalid_request_error", "Your credit balance is too low to access the API.")),
    (400, {"code": "Arrearage", "message": "Access denied, make sure your account is good"}),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
    (
        403,
        {"code": "a", "error": "Your team doesn't have any credits yet. You can purchase credits."},
    ),
    (403, {"error": "Your team has reached its monthly spending limit."}),
    (
        400,
        litellm(
            "Budget has been exceeded! Current cost: 1.0, Max budget: 0.5", "400", "budget_exceeded"
        ),
    ),
    (403, {"error": {"message": "a", "type": "new_api_error", "code": "insufficient_user_quota"}}),
    (400, openai("Billing hard limit has been reached", "billing_hard_limit_reached")),
    # under status 200
    (200, openai("You exceeded your current quota", "insufficient_quota")),
    (200, {"error": {"code": 402, "message": "a"}}),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
]

LIMITED = [
    # with the pause that the body says
    (429, b"", None),
    (429, b"Too Many Requests", None),
    (429, openai("Rate limit reached ... Please try again in 6m0s.", "rate_limit_exceeded"), 360.0),
    (429, openai("Rate limit reached ... Please try again in 320ms.", "rate_limit_exceeded"), 0.32),
    (
        429,
        google(429, "You exceeded your current quota", "RESOURCE_EXHAUSTED", {"retryDelay": "34s"}),
        34.0,
    ),
    (429, {"error": {"code": "429", "message": "Please retry after 6 seconds."}}, 6.0),
    (429, anthropic("rate_limit_error", "This request would exceed your limit"), None),
    (429, {"message": "Too many tokens, please wait before trying again."}, None),
    (429, {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"}, None),
    (429, openrouter(429, google(429, "a", "b", {"retryDelay": "34s"})), 34.0),
    (429, openrouter(429, "m is temporarily rate-limited upstream. Please retry shortly"), None),
    (429, {"error": {"message": "a", "metadata": {"retry_after_seconds": 12}}}, 12.0),
    (429, {"detail": "Rate limit exceeded"}, None),
    # as 400 or 403, or under status 200
    (403, google(403, "a", "PERMISSION_DENIED", {"reason": "rateLimitExceeded"}), None),
    (400, {"__type": "ThrottlingException", "message": "a"}, None),
    (400, {"error": "Too many requests"}, None),
    (200, openai("Rate limit exceeded", 429), None),
    (200, {"error": {"code": 429, "message": "Wait 20 seconds"}}, 20.0),
    (
        200,
        {"choices": [{"error": {"code": 429, "message": "a"}, "message": {"content": "7"}}]},
        None,
    ),
    (200, {"object": "error", "message": "rate limit", "type": "a", "code": 400}, None),
    (500, {"error": {"code": "rate_limit_exceeded", "message": "a"}}, None),
]

FAILING = [
    (500, b"", None),
    (500, b"Internal Server Error", None),
    (502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", None),
    (503, {"error": "Model m is currently loading", "estimated_time": 20.0}, 20.0),
    (503, openai("The engine is overloaded", None, "server_error"), None),
    (504, b"upstream request timeout", None),
    (529, anthropic("overloaded_error", "Overloaded"), None),
    (500, {"error": "failed to encode response: json: unsupported value: NaN"}, None),
    (500, {"error": {"code": 500, "message": "slot unavailable", "type": "server_error"}}, None),
    (424, {"error": "Request failed during generation", "error_type": "generation"}, None),
    (408, openai("Timeout", None, "server_error"), None),
    (409, {"error": "Conflict"}, None),
    (520, b"error code: 520", None),
    # what has no other meaning under status 200
    (200, {"error": "a"}, None),
    (200, {"error": {"message": "Provider returned error", "code": 502}}, None),
    (200, {"choices": [{"error": {"code": 502, "message": "a"}, "finish_reason": "error"}]}, None),
    (200, {"error": {"message": "a", "code": 1234}}, None),
    (200, {"message": "please retry in 5s"}, 5.0),
]

REFUSED = [
    # what is named, and whether the least that can be sent is worth a try
    (
        400,
        openai("Unsupported value: 'temperature' does not support 0", param="temperature"),
        [TEMPERATURE],
    ),
    (
        400,
        openai("Unsupported parameter: 'max_tokens' is not supported", param="max_tokens"),
        [MAX_TOKENS],
    ),
    (400, google(400, "Logprobs is not enabled for models/m", "INVALID_ARGUMENT"), [LOGPROBS]),
    (403, openai("You are not allowed to request logprobs from this model"), [LOGPROBS]),
    (400, openai("top_logprobs of 20 is greater than max allowed: 5"), [LOGPROBS]),
    (
        400,
        openai(
            "Invalid 'max_output_tokens': integer below minimum value. Expected >= 16, got 8.",
            "integer_below_min_value",
            param="max_output_tokens",
        ),
        [MORE_TOKENS],
    ),
    (422, fastapi("body", "top_logprobs", input=20), [LOGPROBS]),
    (422, fastapi("body", "temperature", message="a"), [TEMPERATURE]),
    (422, {"object": "error", "message": fastapi("body", "logprobs"), "code": None}, [LOGPROBS]),
    (422, {"detail": "logprobs is not supported"}, [LOGPROBS]),
    (400, openrouter(400, openai("a", param="response_format")), [FORMAT]),
    (400, openai("'response_format' of type 'json_schema' is not supported"), [FORMAT]),
    (400, openai("encoding_format is not supported"), [ENCODING]),
    (
        501,
        {"error": {"code": 501, "message": "logprobs is not supported", "type": "a"}},
        [LOGPROBS],
    ),
    (501, {"error": {"code": 501, "message": "Not implemented"}}, []),
    # a system role
    (400, {"object": "error", "message": "System role not supported", "code": 400}, [SYSTEM]),
    (400, openai("Conversation roles must alternate user/assistant/user/assistant/..."), [SYSTEM]),
    (
        400,
        google(400, "Developer instruction is not enabled for models/m", "INVALID_ARGUMENT"),
        [SYSTEM],
    ),
    (422, {"message": "Only user and assistant roles are supported!"}, [SYSTEM]),
    # nothing is named
    (400, openai("Invalid request"), []),
    (422, {"detail": "Unprocessable Entity"}, []),
    (400, b"Bad Request", []),
    (200, openai("logprobs is not supported", 400), [LOGPROBS]),
    (200, openai("Invalid request", 400), []),
]

REJECTED = [
    # whether every other call would be refused, too
    (404, openai("The model `m` does not exist", "model_not_found"), True),
    (404, {"error": {"message": "model 'm' not found", "type": "not_found_error"}}, True),
    (404, {"detail": "Not Found"}, True),
    (404, b"404 page not found", True),
    (405, {"detail": "Method Not Allowed"}, True),
    (400, openai("The model `m` does not exist", param="model"), True),
    (400, openai("m is not a valid model ID", 400), True),
    (400, {"message": "The provided model identifier is invalid."}, True),
    (400, {"error": {"message": "Model Not Exist", "code": "invalid_request_error"}}, True),
    (404, {"error": {"code": "DeploymentNotFound", "message": "a"}}, True),
    (200, openai("a", "model_not_found"), True),
    (301, b"", True),
    (307, b"<a href='https://a'>", True),
    (400, b"Client sent an HTTP request to an HTTPS server.", True),
    (400, b"The plain HTTP request was sent to HTTPS port", True),
    # or this one alone
    (
        400,
        openai("This model's maximum context length is 8192 tokens", "context_length_exceeded"),
        False,
    ),
    (400, anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000"), False),
    (
        400,
        {"error": {"code": 400, "message": "the request exceeds the available context size"}},
        False,
    ),
    (400, {"error": "the input length exceeds the context length"}, False),
    (
        422,
        {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"},
        False,
    ),
    (
        400,
        google(
            400, "The input token count exceeds the maximum number of tokens", "INVALID_ARGUMENT"
        ),
        False,
    ),
    (500, {"error": "input length exceeds maximum context length"}, False),
    (200, openai("maximum context length is 8192 tokens"), False),
    (413, b"Payload Too Large", False),
    (
        413,
        openai("Request too large ... on tokens per minute", "rate_limit_exceeded", "tokens"),
        False,
    ),
    (
        429,
        openai("Request too large for m on tokens per min", "rate_limit_exceeded", "tokens"),
        False,
    ),
    (406, b"", False),
    (410, {"error": "Gone"}, False),
]

DECLINED = [
    (
        400,
        openai(
            "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy.",
            "content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        ),
    ),
    (400, openai("Your request was rejected by our safety system.", "content_policy_violation")),
    (
        400,
        {
            "code": "DataInspectionFailed",
            "message": "Input data may contain inappropriate content.",
        },
    ),
    (400, {"error": {"message": "Content Exists Risk: content policy", "code": "a"}}),
    (403, {"error": {"code": 403, "message": "Blocked by content moderation", "metadata": {}}}),
    (422, {"error": "content_filter triggered"}),
    (451, {"error": "content policy"}),
    (
        400,
        {"contentFilter": [{"level": 1}], "error": {"code": "1301", "message": "可能包含敏感内容"}},
    ),
    (200, {"error": {"code": "content_filter", "message": "a"}}),
    (200, {"error": "blocked by the content filter"}),
]


@pytest.mark.parametrize(("status", "body"), KEYS)
def test_a_refused_key(status: int, body: Any) -> None:
    error = meaning(status, body)
    assert type(error) is KeyRejectedError
    assert f"check {KEY_FROM}" in str(error)


@pytest.mark.parametrize(("status", "body"), SPENT)
def test_spent_credit(status: int, body: Any) -> None:
    assert type(meaning(status, body)) is QuotaSpentError


@pytest.mark.parametrize(("status", "body", "pause"), LIMITED)
def test_a_limit_of_rates(status: int, body: Any, pause: float | None) -> None:
    error = meaning(status, body)
    assert isinstance(error, PassingError)
    assert (error.rate_limited, error.retry_after, error.who) == (True, pause, WHO)


@pytest.mark.parametrize(("status", "body", "pause"), FAILING)
def test_a_failure_that_may_pass(status: int, body: Any, pause: float | None) -> None:
    error = meaning(status, body)
    assert isinstance(error, PassingError)
    assert (error.rate_limited, error.retry_after) == (False, pause)
    assert error.status == (status if status != 200 else error.status)


@pytest.mark.parametrize(("status", "body", "parameters"), REFUSED)
def test_a_call_that_may_be_taken_otherwise(status: int, body: Any, parameters: list[str]) -> None:
    error = meaning(status, body)
    assert isinstance(error, RefusedCallError)
    assert error.parameters == parameters
    assert error.may_be_bare is (status != 403)
    assert type(error.otherwise) is RequestRejectedError
    assert not error.otherwise.stops_everything


@pytest.mark.parametrize(("status", "body", "stops_everything"), REJECTED)
def test_a_call_that_is_refused_for_good(status: int, body: Any, stops_everything: bool) -> None:
    error = meaning(status, body)
    assert isinstance(error, RequestRejectedError)
    assert error.stops_everything is stops_everything


@pytest.mark.parametrize(("status", "body"), DECLINED)
def test_a_document_that_is_declined(status: int, body: Any) -> None:
    error = meaning(status, body)
    assert isinstance(error, DeclinedError)
    assert isinstance(error.rejected, RequestRejectedError)
    assert not error.rejected.stops_everything


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 500, "message": "System role not supported", "type": "server_error"}},
        {"error": "Conversation roles must alternate user/assistant"},
        {"error": {"code": 500, "message": "Jinja Exception: Only user and assistant roles"}},
        {"detail": "500: the template raised: the 'system' role is unknown"},
    ],
)
def test_a_system_role_is_refused_also_as_500(body: Any) -> None:
    error = meaning(500, body)
    assert isinstance(error, RefusedCallError)
    assert error.parameters == [SYSTEM]
    assert not error.may_be_bare
    assert isinstance(error.otherwise, PassingError)
    assert error.otherwise.status == 500


def test_a_proxy_that_asks_for_a_password_is_named() -> None:
    error = meaning(407, b"")
    assert isinstance(error, PassingError)
    assert "proxy" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        openai("Unknown parameter: 'reasoning_effort'", param="reasoning_effort"),
        openai("reasoning_effort is not supported by this model"),
        fastapi("body", "reasoning_effort"),
        openai("Unrecognized request argument supplied: `store`"),
    ],
)
def test_a_member_that_the_settings_add_is_named(body: Any) -> None:
    error = meaning(400, body, own=("store", "reasoning_effort"))
    assert isinstance(error, RequestRejectedError)
    assert error.stops_everything
    assert "store" in str(error) or "reasoning_effort" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        openai("Please store your key"),
        openai("temperature is not supported with reasoning_effort"),
        openai("Invalid request"),
    ],
)
def test_a_member_that_the_settings_add_is_not_blamed_lightly(body: Any) -> None:
    error = meaning(400, body, own=("store", "reasoning_effort"))
    assert isinstance(error, RefusedCallError | KeyRejectedError)


QUOTES = [
    # phrases of every kind, each as a document may hold it
    "the API key is invalid",
    "an invalid API key was used",
    "your credit balance is too low",
    "he wrote that insufficient balance was left",
    "the rate limit was reached",
    "too many requests came in",
    "against our content policy",
    "a content filter decided so",
    "beyond the context length of the model",
    "no such model exists",
    "the HTTP request went to an HTTPS server",
    '{"code": "invalid_api_key", "type": "insufficient_quota"}',
    '{"error": {"code": "rate_limit_exceeded", "retryDelay": "99s"}}',
    '{"code": "content_filter"}',
    '{"code": "model_not_found"}',
]
FORMS = [
    "Cannot read this: {}",
    "Invalid value: '{}'.",
    'Cannot read "{}" at line 1',
    "Cannot read `{}`",
    "{}",
    'Upstream said: {{"input": "a"}} {}',
]


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [400, 500, 200])
def test_a_phrase_that_the_call_holds_does_not_count(quote: str, form: str, status: int) -> None:
    body = openai(form.format(quote))
    quoting = meaning(status, body, sent=f"Document: {quote}, and more")
    if status == 400:
        assert isinstance(quoting, RefusedCallError)
        assert isinstance(quoting.otherwise, RequestRejectedError)
        assert not quoting.otherwise.stops_everything
    else:
        assert isinstance(quoting, PassingError)
        assert not quoting.rate_limited
        assert quoting.retry_after is None


@pytest.mark.parametrize("quote", QUOTES)
def test_the_same_phrase_counts_where_the_provider_says_it(quote: str) -> None:
    said = meaning(400, openai(quote), sent="Document: bees")
    assert not isinstance(said, RefusedCallError)


def test_a_short_quote_never_speaks_for_the_provider() -> None:
    sent = "Document: how to rotate an API key, and why tokens expire"
    for message in ("Invalid input: 'API key'", 'Wrong: "rotate an API key..."', "Bad `api key`"):
        assert isinstance(meaning(400, openai(message), sent), RefusedCallError)
    assert isinstance(meaning(400, openai("Invalid API key"), sent), KeyRejectedError)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_pause_that_the_call_holds_does_not_count(status: int) -> None:
    phrase = "please try again in 500s"
    for body in (openai(f"failed at: {phrase}"), openrouter(status, {"retryDelay": "77s"})):
        quoting = meaning(status, body, sent=f'Document: {phrase} {{"retryDelay": "77s"}}')
        saying = meaning(status, body)
        assert isinstance(quoting, PassingError)
        assert isinstance(saying, PassingError)
        assert quoting.retry_after is None
        assert saying.retry_after in (500.0, 77.0)


SECRET = "sk-sentinel-0123456789"
PRIVATE = "a private text about bees"


@pytest.mark.parametrize(
    "status", [200, 301, 400, 401, 402, 403, 404, 407, 413, 422, 429, 500, 501]
)
@pytest.mark.parametrize("value", [SECRET, PRIVATE, f"{SECRET}: {PRIVATE}"])
@pytest.mark.parametrize("kind", ["invalid_api_key", "insufficient_quota", "content_filter", None])
def test_nothing_of_the_body_is_in_the_message(status: int, value: str, kind: Any) -> None:
    bodies = [
        openai(value, kind, param=value),
        openai(value, value, value),
        {
            "error": {
                "message": value,
                "code": value,
                "status": value,
                "reason": value,
                "type": value,
            }
        },
        {"detail": [{"loc": ["body", value], "msg": value, "type": value}]},
        [{"error": {"message": json.dumps({"code": value}), "details": [{"reason": value}]}}],
        {"message": value, "code": kind, "request_id": value},
    ]
    for body in bodies:
        error = meaning(status, body, sent=PRIVATE, own=("store",))
        shown = [error]
        if isinstance(error, RefusedCallError):
            shown.append(error.otherwise)
        if isinstance(error, DeclinedError):
            shown.append(error.rejected)
        if isinstance(error, PassingError):
            shown += [error.final(3), error.refusal(1.0)]
        for each in shown:
            assert "sentinel" not in repr(each)
            assert "private" not in repr(each)
            assert "sentinel" not in str(each)
            assert "private" not in str(each)


words = st.lists(
    st.sampled_from(
        [
            *(
                "invalid",
                "API key",
                "rate limit",
                "credit balance",
                "content policy",
                "system role",
            ),
            *("logprobs", "max_tokens", "model", "not found", "context length", "try again in 5s"),
            *(".", "\n", "'", '"', "`", " ", "{", "}", '{"code": "invalid_api_key"}', "bees"),
        ]
    )
).map(" ".join)
codes = st.sampled_from(["invalid_api_key", "insufficient_quota", "429", 401, "a.b", "", None])


@given(
    st.sampled_from([301, 400, 401, 403, 404, 413, 422, 429, 500, 501, 503]), words, codes, words
)
def test_every_error_means_something(status: int, message: str, code: Any, sent: str) -> None:
    for body in (openai(message, code), {"detail": message}, {"error": {"raw": message}}):
        error = meaning(status, body, sent)
        kinds = DeclinedError, RefusedCallError, PassingError, ProviderError
        assert isinstance(error, kinds)


@given(words)
def test_what_merely_repeats_the_call_is_a_refusal_without_consequences(said: str) -> None:
    error = meaning(400, openai(said), sent=said)
    assert isinstance(error, RefusedCallError)
    assert isinstance(error.otherwise, RequestRejectedError)
    assert not error.otherwise.stops_everything


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            403,
            {
                "error": {
                    "message": "m requires moderation. Your input was flagged. No credits were "
                    "charged.",
                    "metadata": {"flagged_input": "x"},
                }
            },
            DeclinedError,
        ),
        (400, {"message": "Invalid model: m", "type": "invalid_model"}, RequestRejectedError),
        (422, {"error": "`inputs` must have less than 1024 tokens"}, RequestRejectedError),
        (400, {"error": {"code": "context_length_exceeded"}}, RequestRejectedError),
        (
            403,
            {"error": {"message": "Method doesn't allow unregistered callers"}},
            KeyRejectedError,
        ),
    ],
)
def test_what_gateways_say_in_their_own_way(
    status: int, body: object, kind: type[Exception]
) -> None:
    report = read_report(status, {}, json.dumps(body).encode())
    assert type(error_of(report, "", "P", "K")) is kind
