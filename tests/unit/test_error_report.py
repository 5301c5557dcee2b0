"""What a provider says of an error: bodies of every shape, and how long to wait."""

import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.error_report import (
    LONGEST_PAUSE,
    UNKNOWN,
    ErrorReport,
    error_in,
    read_report,
    report_of,
)


def read(body: Any, status: int = 400, **headers: str) -> ErrorReport:
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_report(status, {k.replace("_", "-"): v for k, v in headers.items()}, written)


SAID = {"error": {"message": "Bad", "type": "invalid_request_error", "param": "n", "code": "a_b"}}


@pytest.mark.parametrize(
    ("body", "code", "names", "words"),
    [
        (SAID, "a_b", ["n"], "Bad"),
        ([SAID], "a_b", ["n"], "Bad"),
        ({"error": "Bad"}, "", [], "Bad"),
        (
            {"error": {"message": "Bad", "status": "INVALID_ARGUMENT"}},
            "invalid_argument",
            [],
            "Bad",
        ),
        ({"message": "Bad"}, "", [], "Bad"),
        ({"detail": "Bad"}, "", [], "Bad"),
        ({"message": {"detail": "Bad"}}, "", [], "Bad"),
        ({"message": {"detail": [{"loc": ["body", "n"], "msg": "Bad"}]}}, "", ["body", "n"], "Bad"),
        (
            {"detail": [{"type": "extra", "loc": ["body", "n", 0], "msg": "Bad", "input": "x"}]},
            "extra",
            ["body", "n"],
            "Bad",
        ),
        ({"errors": [{"message": "Bad", "code": 7003}], "success": False}, "", [], "Bad"),
        ({"errors": ["Bad"]}, "", [], "Bad"),
        (
            {"object": "error", "message": "Bad", "type": "BadRequest"},
            "badrequest",
            [],
            "error\nBad",
        ),
        (
            {"type": "error", "error": {"type": "not_found_error", "message": "Bad"}},
            "not_found_error",
            [],
            "Bad",
        ),
        ({"code": "Throttling.RateQuota", "message": "Bad"}, "", [], "Bad"),
        (
            {"__type": "com.amazon.coral#ThrottlingException", "message": "Bad"},
            "throttlingexception",
            [],
            "Bad",
        ),
        ({"base_resp": {"status_code": 1004, "status_msg": "Bad"}}, "", [], "Bad"),
        (
            {"error": {"message": "Bad", "metadata": {"raw": '{"error": {"message": "Worse"}}'}}},
            "",
            [],
            "Bad\n\n\nWorse",
        ),
        (b"Bad", "", [], "Bad"),
        (b"\n Bad", "", [], "\n Bad"),
        (b"\xef\xbb\xbf" + json.dumps(SAID).encode(), "a_b", ["n"], "Bad"),
        (b"\n" + json.dumps(SAID).encode() + b"\n", "a_b", ["n"], "Bad"),
        (b"data: " + json.dumps(SAID).encode() + b"\n\ndata: [DONE]\n\n", "a_b", ["n"], "Bad"),
        (b"event: error\ndata: " + json.dumps(SAID).encode(), "a_b", ["n"], "Bad"),
        # what repeats the call is not looked at
        (
            {"error": "Bad", "input": "x", "body": {"code": "c_d"}, "messages": [{"param": "m"}]},
            "",
            [],
            "Bad",
        ),
        ({"error": {"message": "Bad", "failed_generation": '{"code": "c_d"}'}}, "", [], "Bad"),
    ],
)
def test_a_body_of_any_shape_is_read(body: Any, code: str, names: list[str], words: str) -> None:
    report = read(body)
    assert (report.status, report.code, report.names) == (400, code, names)
    assert report.words == words


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"7",
        b"{",
        b"[]",
        b"{}",
        b'{"error": null}',
        b'{"error": []}',
        b'{"error": {"message": ["x"], "code": {}}}',
        b'{"error": {"code": 7, "param": ["a", 1], "type": ["a"]}}',
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b"<html><style>body {color: red}</style>502</html>",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"[" * 900 + b"]" * 900,
        ('"' + "\\" * 1000).encode(),
        json.dumps({"error": json.dumps({"error": json.dumps({"error": "{" * 50})})}).encode(),
    ],
)
def test_a_body_that_says_nothing_is_a_report(body: bytes) -> None:
    report = read_report(500, {}, body)
    assert (report.status, report.code, report.pause, [*report.said_pauses]) == (500, "", None, [])


def test_texts_within_texts_are_told_from_what_the_provider_says_itself() -> None:
    inner = json.dumps({"error": {"code": "insufficient_quota", "message": "Inner"}})
    for raw in (inner, f"Upstream: {inner}", f"b'{inner}'", json.dumps({"raw": inner})):
        report = read({"error": {"message": "Outer", "code": "own", "metadata": {"raw": raw}}})
        assert report.codes == ["own"]
        assert report.quoted_codes == ["insufficient_quota"]
        assert "Outer" in report.words
        assert "Inner" in report.words
        assert report.code == "own"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("context_length_exceeded", "context_length_exceeded"),
        ("RESOURCE_EXHAUSTED", "resource_exhausted"),
        ("error", "error"),
        ("sk-abcdef", ""),
        ("sk_live_4eC39", ""),
        ("a private text", ""),
        ("a" * 49, ""),
        ("", ""),
        ("429", ""),
    ],
)
def test_only_plain_codes_are_shown(code: str, shown: str) -> None:
    assert read({"error": {"code": code}}).code == shown


def test_the_code_that_says_most_is_shown() -> None:
    body = {"error": {"type": "server_error", "status": "b_c", "code": "a_b"}}
    assert read(body).code == "a_b"
    assert read({"error": {"type": "server_error", "code": 500}}).code == "server_error"
    assert read({"type": "error", "error": {"type": "overloaded_error"}}).code == "overloaded_error"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"error": {"code": 429}}, 429),
        ({"error": {"code": "429"}}, 429),
        ({"error": {"message": "a"}, "status": 401}, 401),
        ({"error": {"status_code": 503}}, 503),
        ({"code": 401, "msg": "a"}, 401),
        ({"error_code": 402}, 402),
        ({"error": {"code": "insufficient_quota"}}, UNKNOWN),
        ({"error": {"code": 200}}, UNKNOWN),
        ({"error": {"code": 1301}}, UNKNOWN),
        ({"error": {"code": True}}, UNKNOWN),
        ({"error": {"code": 429.0}}, UNKNOWN),
        ({"error": {"message": '{"code": 401}'}}, UNKNOWN),
        ({"error": {"message": "401"}}, UNKNOWN),
        ({"error": {"input": {"code": 401}}}, UNKNOWN),
    ],
)
def test_under_status_200_the_body_names_the_status(value: Any, status: int) -> None:
    assert report_of(200, {}, value).status == status
    assert report_of(400, {}, value).status == 400  # HTTP's own counts first


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "a", "code": 429}},
        {"error": "a"},
        {"error": True, "message": "a"},
        {"error": {"message": "a"}, "choices": []},
        {"error": {"message": "a"}, "choices": [{"message": {"content": "7"}}]},
        {"error": {"message": "a"}, "data": [{"index": 0}]},
        [{"error": {"message": "a"}}],
        {"choices": [{"error": {"code": 502, "message": "a"}, "finish_reason": "error"}]},
        {"choices": [{"error": {"message": "a"}, "message": {"content": "7"}}]},
        {"choices": [{"error": "a", "message": {"content": "7"}}]},
        {"object": "error", "message": "a", "code": 400},
        {"code": 401, "msg": "a"},
        {"code": 1113, "msg": "a", "success": False},
        {"success": False, "errors": [{"message": "a"}], "result": None},
        {"detail": "a"},
        {"detail": [{"loc": ["body"], "msg": "a"}]},
        {"message": "a"},
        {"error_code": 110, "error_msg": "a"},
        {"choices": None, "code": 429, "message": "a"},
        {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "a"}},
    ],
)
def test_an_error_under_status_200_is_found(value: Any) -> None:
    error = error_in(value)
    assert error is not None
    assert "7" not in report_of(200, {}, error).words  # the model's own words are none of its


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "7"}}], "error": None},
        {"choices": [{"message": {"content": "7"}}], "error": ""},
        {"choices": [{"message": {"content": "7"}}], "error": {}},
        {"choices": [{"message": {"content": "7"}}], "error": {"code": None, "message": None}},
        {"choices": [{"message": {"content": "7"}, "error": None}]},
        {"choices": [{"message": {"content": '{"error": "a"}'}}]},
        {"choices": [{"message": {"content": "7"}}], "base_resp": {"status_code": 0}},
        {"choices": [{"message": {"content": "7"}}], "code": 0, "message": "ok"},
        {"data": [{"index": 0, "embedding": [1.0]}], "object": "list"},
        {"data": [], "object": "list"},
        {},
        [],
        None,
        7,
        "error",
        [[]],
        [{}],
        [7],
        {"message": {"role": "assistant", "content": "7"}, "done": True},
    ],
)
def test_what_is_no_error_is_none(value: Any) -> None:
    assert error_in(value) is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "34s"}]}}, 34.0),
        ([{"error": {"details": [{"retryDelay": "34.074824224s"}]}}], 34.074824224),
        ({"error": {"retryDelay": {"seconds": 34, "nanos": 0}}}, 34.0),
        ({"error": {"retryDelay": {"seconds": "34"}}}, 34.0),
        ({"retry_after": 7}, 7.0),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1m30s"}, 90.0),
        ({"retryAfter": 7.5}, 7.5),
        ({"retry_after_ms": 1500}, 1.5),
        ({"error": {"metadata": {"retry_after_seconds": 12}}}, 12.0),
        ({"error": "Model m is currently loading", "estimated_time": 20.0}, 20.0),
        ({"retry_after": 0}, 0.0),
        ({"retry_after": -7}, 0.0),
        ({"retry_after": 10**400}, LONGEST_PAUSE),
        ({"retry_after": -(10**400)}, 0.0),
        ({"retry_after": 86_400}, LONGEST_PAUSE),
        # none
        ({"retry_after": None}, None),
        ({"retry_after": True}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": []}, None),
        ({"retry_after": {}}, None),
        ({"retry_after": "10 messages"}, None),
        ({"retry_after": "2026-11-25T00:00:00Z"}, None),
        ({"retryDelay": {"seconds": None}}, None),
        ({"retryDelay": {"seconds": {"seconds": 7}}}, None),
        ({"retry_after": float("nan")}, None),
        ({"input": {"retry_after": 7}}, None),
        ({"after": 7}, None),
    ],
)
def test_a_pause_in_the_body_is_found(body: Any, seconds: float | None) -> None:
    assert read(body, 429).pause == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 20s.", 20.0),
        ("Please try again in 6m0s. Visit https://example.org", 360.0),
        ("Please try again in 1m26.4s", 86.4),
        ("Please try again in 320ms.", 0.32),
        ("Please retry in 34.07s.", 34.07),
        ("Please retry after 6 seconds.", 6.0),
        ("Retry after 1 minute and 5 seconds.", 65.0),
        ("Please wait 2 minutes", 120.0),
        ("Your limit resets in 1 hour.", LONGEST_PAUSE),
        ("Rate limit reset: 12 secs", 12.0),
        ("Try again in 0.5 s", 0.5),
        # none
        ("Please try again later.", None),
        ("Please try again in a few seconds.", None),
        ("Limit 20 / min. Please try again.", None),
        ("Try again with at most 20 messages", None),
        ("Try again after 2026-11-25 00:00:00", None),
        ("Retry in 3 months", None),
        ("The limit is 20s", None),
        ("wait\n20s", None),
    ],
)
def test_a_pause_in_words_is_found_with_those_words(words: str, seconds: float | None) -> None:
    report = read({"error": {"message": words}}, 429)
    assert report.pause is None
    assert [pause for _, pause in report.said_pauses] == pytest.approx(
        [] if seconds is None else [seconds]
    )
    assert all(said in words for said, _ in report.said_pauses)


def test_a_pause_in_a_text_within_a_text_may_be_quoted() -> None:
    report = read({"error": {"metadata": {"raw": '{"error": {"retryDelay": "34s"}}'}}}, 429)
    assert report.pause is None
    assert report.said_pauses == [("34s", 34.0)]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "9" * 30}, LONGEST_PAUSE),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after": formatdate(0, usegmt=True)}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "²"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after_ms": "nan"}, None),
        ({"retry_after_ms": "inf"}, None),
        ({"retry_after": "Mon, 99 Foo 2026"}, None),
        ({"retry_after": "Mon, 01 Jan 0001 00:00:00 -0000"}, 0.0),
    ],
)
def test_a_pause_in_the_headers_is_found(headers: dict[str, str], seconds: float | None) -> None:
    assert read({}, 429, **headers).pause == seconds
    with_both = read({"retry_after": 3}, 429, **headers).pause
    assert with_both == (3.0 if seconds is None else seconds)


def test_a_pause_as_a_date_is_found() -> None:
    pause = read({}, 503, retry_after=formatdate(time.time() + 20, usegmt=True)).pause
    assert pause is not None
    assert 15 < pause <= 21


def test_what_is_said_is_bounded() -> None:
    report = read({"error": {"message": "a" * 10**6, "param": "b" * 10**5, "code": "c" * 10**5}})
    assert len(report.words) <= 4000
    many = read([{"message": "a", "code": "b", "param": "c"}] * 10**4)
    assert len(many.codes) + len(many.names) + len(many.words) < 10**5
    assert all(len(name) <= 200 for name in (*report.names, *report.codes))


keys = st.sampled_from(
    [
        *("error", "message", "code", "status", "type", "param", "loc", "detail", "metadata"),
        *("retryDelay", "retry_after", "retry_after_ms", "seconds", "choices", "data", "input"),
        *("raw", "reason", "__type", "errors", "success", "base_resp", "status_code"),
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(
        ["34s", "429", '{"code": "a"}', '[{"retryDelay": "1s"}]', "again in 9m", "{", "[", "#a"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.builds(json.dumps, inner)
    ),
    max_leaves=15,
)


@given(values, st.sampled_from([200, 201, 302, 400, 429, 500]))
def test_whatever_comes_is_a_report(value: Any, status: int) -> None:
    for report in (report_of(status, {}, value), read(value, status)):
        pauses = [report.pause or 0.0, *(pause for _, pause in report.said_pauses)]
        assert all(0 <= pause <= LONGEST_PAUSE for pause in pauses)
        assert report.status == status or status < 300
    error = error_in(value)
    if error is not None:
        report_of(200, {}, error)


@given(st.binary(), st.text(), st.text())
def test_whatever_bytes_come_are_a_report(body: bytes, seconds: str, milliseconds: str) -> None:
    headers = {"retry-after": seconds, "retry-after-ms": milliseconds}
    report = read_report(429, headers, body)
    assert report.pause is None or 0 <= report.pause <= LONGEST_PAUSE
