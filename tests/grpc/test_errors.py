"""Every bad input through a real channel: the status, the details, and what was not lost."""

import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2
from structlog.testing import capture_logs

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.groups import Group, Verdict
from rerankd_server.scoring.llm import LLMScorer
from support.provider import Call, FakeProvider, completion, fails, failure, label_in
from support.server import Stub, ask, running, stub_of

Detail = TypeVar("Detail", bound=Message)


@pytest.fixture
async def stub(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[Stub]:
    settings = {"max_message_bytes": 1 << 20, "attempts": 1, "max_query_chars": 100}
    async with (
        running(tmp_path, base_url=provider.base_url, **settings) as app,
        stub_of(app.address) as stub,
    ):
        yield stub


class Failure:
    """A failed call's status."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        assert (status.code, status.message) == (self.code.value[0], self.message)
        self.details = status.details
        info = self.detail(details_pb.ErrorInfo)
        assert info.domain == "rerankd"
        self.reason = info.reason

    def detail(self, kind: type[Detail]) -> Detail:
        (packed,) = (packed for packed in self.details if packed.Is(kind.DESCRIPTOR))
        found = kind()
        packed.Unpack(found)
        return found

    @property
    def fields(self) -> list[str]:
        return [each.field for each in self.detail(details_pb.BadRequest).field_violations]


async def fail(stub: Stub, request: pb.RerankRequest) -> Failure:
    """Both RPCs fail, and in the same way."""
    with pytest.raises(grpc.aio.AioRpcError) as streamed:
        _ = [message async for message in stub.Rerank(request)]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RerankOnce(request)
    found = Failure(raised.value)
    again = Failure(streamed.value)
    assert (found.code, found.reason) == (again.code, again.reason)
    return found


async def invalid(stub: Stub, request: pb.RerankRequest) -> list[str]:
    failure = await fail(stub, request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert failure.message.startswith(f"{failure.fields[0]}: ")
    return failure.fields


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (ask("", ["a"]), ["query"]),
        (ask(" \n\t", ["a"]), ["query"]),
        (ask("q" * 101, ["a"]), ["query"]),
        (ask("q", ["a"], instruction="i" * 101), ["instruction"]),
        (ask("q", []), ["documents"]),
        (ask("q", ["a", "", "b"]), ["documents[1].text"]),
        (ask("q", ["a", "\u00a0\u2003\n"]), ["documents[1].text"]),
        (ask("q", ["a"], cache_mode=77), ["cache_mode"]),
        (ask("q", ["a"] * 10_001), ["documents"]),
        (ask("q", ["x" * (1 << 20)]), ["request"]),
        (ask("q", ["x" * (1 << 20)], return_documents=True), ["request", "return_documents"]),
        (
            ask("", ["", "a", " "], cache_mode=9, instruction="i" * 999, model="gpt-9"),
            [
                *("query", "instruction", "documents[0].text", "documents[2].text"),
                *("cache_mode", "model"),
            ],
        ),
    ],
)
async def test_every_broken_rule_is_named_at_once(
    stub: Stub, provider: FakeProvider, request_: pb.RerankRequest, fields: list[str]
) -> None:
    assert await invalid(stub, request_) == fields
    assert provider.calls == []


@pytest.mark.parametrize("prior", [math.nan, math.inf, -math.inf])
async def test_a_prior_score_is_finite(stub: Stub, prior: float) -> None:
    documents = [pb.Document(text="a"), pb.Document(text="b", prior_score=prior)]
    request = pb.RerankRequest(query="q", documents=documents)
    assert await invalid(stub, request) == ["documents[1].prior_score"]


async def test_ten_thousand_violations_fit_into_a_status(stub: Stub) -> None:
    fields = await invalid(stub, ask("q", [""] * 10_000))
    assert fields == [*(f"documents[{n}].text" for n in range(20)), "documents"]


async def test_far_too_many_documents_are_not_looked_at_one_by_one(stub: Stub) -> None:
    assert await invalid(stub, ask("q", [""] * 300_000)) == ["documents"]


async def test_ten_thousand_documents_are_fine(stub: Stub) -> None:
    request = ask("bee", [f"bee {n}" for n in range(10_000)], model="lexical", top_n=3)
    response = await stub.RerankOnce(request)
    assert response.usage.scored_pairs == 10_000
    assert len(response.results) == 3


async def test_a_request_just_within_the_limit_is_fine(stub: Stub) -> None:
    request = ask("q", ["5 " + "x" * ((1 << 20) - 100)])
    assert (1 << 20) - 100 < request.ByteSize() <= 1 << 20
    assert len((await stub.RerankOnce(request)).results) == 1


async def test_results_that_cannot_fit_are_refused_before_anything_is_scored(
    provider: FakeProvider, tmp_path: Path
) -> None:
    limit = 40 << 20
    large = [f"{n} " + "x" * (5 << 20) for n in range(8)]
    async with (
        running(tmp_path, base_url=provider.base_url, max_message_bytes=limit) as app,
        stub_of(app.address) as stub,
    ):
        request = ask("q", [text[: (5 << 20) - 600] for text in large], return_documents=True)
        assert request.ByteSize() <= limit
        response = await stub.RerankOnce(request)
        assert limit * 0.99 < response.ByteSize() <= limit
        called = len(provider.calls)

        ids = pb.RerankRequest(query="q", return_documents=True)
        ids.documents.extend(
            pb.Document(text=str(n), id=f"{n}" + "i" * (5 << 20)) for n in range(5)
        )
        assert ids.ByteSize() <= limit  # but each id comes back twice
        assert await invalid(stub, ids) == ["return_documents"]
        assert len(provider.calls) == called
        ids.top_n = 3
        assert len((await stub.RerankOnce(ids)).results) == 3


async def test_a_message_far_over_the_limit_is_refused_by_the_transport(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RerankOnce(ask("q", ["x" * (3 << 20)]))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_model(stub: Stub, provider: FakeProvider) -> None:
    found = await fail(stub, ask("q", ["a"], model="gpt-9"))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL")
    assert found.message.startswith("model: 'gpt-9' is not served here")
    assert found.fields == ["model"]
    assert "'gpt-4o-mini', 'lexical'" in found.message
    assert provider.calls == []


async def test_a_wrong_key(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = fails(401, "invalid_api_key", "Incorrect key: sk-secret-1234")
    found = await fail(stub, ask("q", [f"{n} x" for n in range(200)]))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_REJECTED")
    assert "sk-secret" not in found.message
    assert "OPENAI_API_KEY" in found.message
    assert len(provider.calls) <= 2 * 32  # what was in flight; no call was sent afterwards


async def test_a_spent_quota(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = fails(429, "insufficient_quota")
    found = await fail(stub, ask("q", ["1 a"]))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_SPENT")


async def test_a_rate_limit(stub: Stub, provider: FakeProvider) -> None:
    # More than anybody waits for, so that the second call is refused, too.
    provider.answer = lambda _: failure(429, headers={"Retry-After": "99"})
    found = await fail(stub, ask("q", ["1 a"]))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert 60 < found.detail(details_pb.RetryInfo).retry_delay.seconds <= 99


async def test_a_rejected_call(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = fails(404, "model_not_found")
    found = await fail(stub, ask("q", ["1 a"]))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_REJECTED")


async def test_a_failing_provider(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = fails(503)
    found = await fail(stub, ask("q", ["1 a"]))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
    assert found.detail(details_pb.RetryInfo).retry_delay.seconds == 1


async def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    settings = {"base_url": "http://127.0.0.1:9/v1", "attempts": 1}
    async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
        found = await fail(stub, ask("q", ["1 a"]))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
    assert found.detail(details_pb.RetryInfo).HasField("retry_delay")


async def test_a_dead_provider_is_given_up_on_quickly(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = fails(503)
    settings = {"base_url": provider.base_url, "attempts": 1, "concurrency": 4}
    async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", [f"{n} x" for n in range(100)]))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(provider.calls) < 10 + 4


async def test_a_model_that_is_not_there_is_asked_for_once_a_worker(
    stub: Stub, provider: FakeProvider
) -> None:
    provider.answer = fails(404, "model_not_found")
    await fail(stub, ask("q", [f"{n} x" for n in range(200)]))
    assert len(provider.calls) <= 2 * 32


async def test_one_documents_defect_is_its_own(
    stub: Stub, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LLMScorer._read

    def sometimes_broken(self: LLMScorer, reply: Reply, group: Group) -> Verdict:
        if 1 in group.positions:
            raise RuntimeError("a private text")
        return read(self, reply, group)

    monkeypatch.setattr(LLMScorer, "_read", sometimes_broken)
    response = await stub.RerankOnce(ask("q", ["2 a", "9 b", "5 c"]))
    assert [result.index for result in response.results] == [2, 0, 1]
    assert response.results[2].unscored_reason == pb.UNSCORED_REASON_FAILED


def sometimes(call: Call) -> web.Response:
    match call.document.split()[1]:
        case "fails":
            return failure(400)
        case "declines":
            return completion(None, refusal="no")
        case "rambles":
            return completion("It depends, 7 or so.", finish="length")
    return label_in(call)


async def test_some_documents_without_a_score_do_not_fail_the_call(
    stub: Stub, provider: FakeProvider
) -> None:
    provider.answer = sometimes
    response = await stub.RerankOnce(ask("q", ["1 fails", "2 is", "3 declines", "4 rambles"]))
    assert [(result.index, result.unscored_reason) for result in response.results] == [
        (1, pb.UNSCORED_REASON_UNSPECIFIED),
        (0, pb.UNSCORED_REASON_FAILED),
        (2, pb.UNSCORED_REASON_REFUSED),
        (3, pb.UNSCORED_REASON_REFUSED),
    ]
    assert (response.usage.scored_pairs, response.usage.unscored_pairs) == (1, 3)
    details = [result.unscored_detail for result in response.results]
    assert details == [
        pb.UNSCORED_DETAIL_UNSPECIFIED,
        pb.UNSCORED_DETAIL_UNSPECIFIED,
        pb.UNSCORED_DETAIL_DECLINED,
        pb.UNSCORED_DETAIL_CUT_OFF,
    ]
    assert response.usage.model_calls == len(provider.calls)


async def test_require_complete_with_a_failure(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = sometimes
    found = await fail(stub, ask("q", ["2 is", "1 fails"], require_complete=True))
    assert found.reason == "REQUEST_REJECTED"


async def test_require_complete_with_refusals(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = sometimes
    texts = ["2 is", *["1 declines"] * 100]
    found = await fail(stub, ask("q", texts, require_complete=True))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INCOMPLETE")
    violations = found.detail(details_pb.PreconditionFailure).violations
    assert [each.subject for each in violations][:2] == ["documents[1]", "documents[2]"]
    assert violations[-1].description == "and 80 more like these"
    # What was scored is kept.
    assert (await stub.RerankOnce(ask("q", ["2 is"]))).usage.cached_pairs == 1


async def test_require_complete_with_only_cached_scores(stub: Stub) -> None:
    request = ask("q", ["1 a"], require_complete=True, cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
    assert (await fail(stub, request)).reason == "INCOMPLETE"


async def test_a_failure_is_never_cached(stub: Stub, provider: FakeProvider) -> None:
    provider.answer = fails(500)
    await fail(stub, ask("q", ["1 a"]))
    provider.answer = label_in
    assert (await stub.RerankOnce(ask("q", ["1 a"]))).usage.scored_pairs == 1


async def test_a_defect_tells_the_caller_nothing_private(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a private text")

    monkeypatch.setattr(LLMScorer, "_read", broken)
    with capture_logs() as logs:
        found = await fail(stub, ask("q", ["1 a"]))
    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "private" not in found.message
    assert {log["event"] for log in logs} == {"defect", "documents without a score", "failed"}
    assert "private" not in str(logs)
    assert "broken" in str(logs)
