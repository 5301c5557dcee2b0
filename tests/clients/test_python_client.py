"""The Python client, both kinds, against a real server."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2
from grpc.aio import insecure_channel as aio_channel

import grpc
from rerankd import (
    AsyncClient,
    CacheMode,
    Client,
    DeadlineExceededError,
    Document,
    FailedPreconditionError,
    InvalidRequestError,
    Options,
    Ranking,
    RerankError,
    ResourceExhaustedError,
    ScoreSource,
    UnavailableError,
    UnknownModelError,
    UnscoredReason,
    Usage,
)
from rerankd._channel import way_to
from rerankd._errors import to_error
from rerankd_server.api import listener
from support.network import proxy
from support.provider import FakeProvider, Gate, completion, fails, label_in
from support.server import running


@dataclass
class Either:
    """Either client, called in one way."""

    blocking: bool
    address: str
    timeout: float | None = 60.0

    async def rerank(
        self, query: str, documents: Sequence[str | Document], **options: object
    ) -> Ranking:
        if self.blocking:

            def call() -> Ranking:
                with Client(self.address, timeout=self.timeout) as client:
                    return client.rerank(query, documents, **options)  # type: ignore[arg-type]

            return await asyncio.to_thread(call)
        async with AsyncClient(self.address, timeout=self.timeout) as client:
            return await client.rerank(query, documents, **options)  # type: ignore[arg-type]

    async def partial(self, query: str, documents: Sequence[str], most: int = 99) -> list[Ranking]:
        """Give the first `most` rankings."""
        if self.blocking:

            def call() -> list[Ranking]:
                found = []
                with Client(self.address, timeout=self.timeout) as client:
                    for ranking in client.rerank_partial(query, documents):
                        found.append(ranking)
                        if len(found) == most:
                            break
                return found

            return await asyncio.to_thread(call)
        found = []
        async with AsyncClient(self.address, timeout=self.timeout) as client:
            async for ranking in client.rerank_partial(query, documents):
                found.append(ranking)
                if len(found) == most:
                    break
        return found


@pytest.fixture(params=[True, False], ids=["blocking", "asyncio"])
async def client(
    provider: FakeProvider, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[Either]:
    settings = {"attempts": 1, "partial_interval": 0, "deadline_margin": 0.6}
    async with running(tmp_path, base_url=provider.base_url, **settings) as app:
        yield Either(request.param, app.address)


async def test_strings(client: Either) -> None:
    ranking = await client.rerank("q", ["2 a", "9 b", "0 c"])
    assert [(result.index, result.score) for result in ranking] == [(1, 0.9), (0, 0.2), (2, 0.0)]
    assert (len(ranking), ranking[0].index, ranking.is_final) == (3, 1, True)
    assert ranking.model == "gpt-4o-mini"
    assert ranking.usage == Usage(
        scored_pairs=3, model_calls=3, prompt_tokens=300, completion_tokens=3
    )
    assert {result.source for result in ranking} == {ScoreSource.MODEL}
    assert {result.source for result in await client.rerank("q", ["9 b"])} == {ScoreSource.CACHE}


async def test_documents_and_options(client: Either, provider: FakeProvider) -> None:
    documents: list[str | Document] = [
        Document("2 a", "x"),
        Document("9 b", "y", prior_score=0.0),
        "5 c",
    ]
    options: Options = {
        "top_n": 2,
        "return_documents": True,
        "instruction": "only honey",
        "cache_mode": CacheMode.BYPASS,
        "model": "gpt-4o-mini",
    }
    ranking = await client.rerank("q", documents, **options)
    assert [(result.id, result.document) for result in ranking] == [
        ("y", Document("9 b", "y", 0.0)),
        ("", Document("5 c")),
    ]
    assert "only honey" in provider.calls[0].prompt
    assert (await client.rerank("q", documents, **options)).usage.cached_pairs == 0


async def test_an_option_that_does_not_exist(client: Either) -> None:
    with pytest.raises(TypeError, match="'topn'"):
        await client.rerank("q", ["a"], topn=3)


async def test_one_text_is_no_list_of_texts(client: Either) -> None:
    with pytest.raises(TypeError, match="a list of texts"):
        await client.rerank("q", "a text")


async def test_documents_without_a_score(client: Either, provider: FakeProvider) -> None:
    provider.answer = lambda _: completion("eleven")
    (result,) = await client.rerank("q", ["a"])
    assert (result.score, result.source) == (None, None)
    assert result.unscored_reason is UnscoredReason.REFUSED


async def test_partial_rankings(client: Either) -> None:
    await client.rerank("q", ["2 a"])
    rankings = await client.partial("q", ["2 a", "9 b", "5 c"])
    assert [ranking.is_final for ranking in rankings] == [False] * (len(rankings) - 1) + [True]
    assert rankings[0][0].score == 0.2
    assert [result.score for result in rankings[-1]] == [0.9, 0.5, 0.2]


async def test_a_caller_may_stop_at_any_ranking(client: Either, provider: FakeProvider) -> None:
    await client.rerank("q", ["2 a"])
    provider.answer = Gate(label_in)
    (first,) = await client.partial("q", ["2 a", "9 b"], most=1)
    assert [result.unscored_reason for result in first] == [None, UnscoredReason.PENDING]


async def test_errors_are_our_own(client: Either, provider: FakeProvider) -> None:
    with pytest.raises(InvalidRequestError) as invalid:
        await client.rerank("", ["a", ""])
    assert [each.field for each in invalid.value.violations] == ["query", "documents[1].text"]
    assert invalid.value.reason == "INVALID_REQUEST"
    with pytest.raises(InvalidRequestError):
        await client.rerank("q", [Document("a", prior_score=math.nan)])
    with pytest.raises(UnknownModelError, match="gpt-9"):
        await client.rerank("q", ["a"], model="gpt-9")
    cached = CacheMode.ONLY_IF_CACHED
    with pytest.raises(FailedPreconditionError) as incomplete:
        await client.rerank("q", ["a"], require_complete=True, cache_mode=cached)
    assert [each.field for each in incomplete.value.violations] == ["documents[0]"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "reason", "retry_after"),
    [
        (401, None, FailedPreconditionError, "KEY_REJECTED", None),
        (429, "insufficient_quota", ResourceExhaustedError, "QUOTA_SPENT", None),
        (429, None, ResourceExhaustedError, "RATE_LIMITED", 1.0),
        (500, None, UnavailableError, "PROVIDER_UNAVAILABLE", 1.0),
    ],
)
async def test_a_providers_errors_are_our_own(
    client: Either,
    provider: FakeProvider,
    status: int,
    code: str | None,
    kind: type[RerankError],
    reason: str,
    retry_after: float | None,
) -> None:
    provider.answer = fails(status, code)
    with pytest.raises(kind) as raised:
        await client.rerank("q", ["a"])
    assert (raised.value.reason, raised.value.retry_after) == (reason, retry_after)
    with pytest.raises(kind):
        await client.partial("q", ["a"])


async def test_a_timeout_is_a_deadline(client: Either, provider: FakeProvider) -> None:
    await client.rerank("q", ["2 a"])
    provider.answer = Gate(label_in)
    ranking = await client.rerank("q", ["1 b", "2 a"], timeout=1.0)
    assert [result.unscored_reason for result in ranking] == [None, UnscoredReason.PENDING]
    with pytest.raises(DeadlineExceededError) as raised:
        await client.rerank("q", ["1 b"], timeout=1.0, require_complete=True)
    assert raised.value.reason == "OUT_OF_TIME"
    client.timeout = 1.0
    assert [ranking.is_final for ranking in await client.partial("q", ["1 b"])] == [True]


async def test_a_deadline_that_has_passed(client: Either) -> None:
    with pytest.raises(DeadlineExceededError) as raised:
        await client.rerank("q", ["1 a"], timeout=-1)
    assert raised.value.reason == ""


@pytest.mark.parametrize("blocking", [True, False])
async def test_no_server_is_unavailable(blocking: bool) -> None:
    with pytest.raises(UnavailableError) as raised:
        await Either(blocking, "127.0.0.1:9").rerank("q", ["a"])
    assert raised.value.reason == ""


async def test_models(client: Either) -> None:
    async with AsyncClient(client.address) as asynchronous:
        models = await asynchronous.models()
    with Client(client.address) as blocking:
        assert await asyncio.to_thread(blocking.models) == models
    assert [(model.name, model.is_default) for model in models] == [
        ("gpt-4o-mini", True),
        ("lexical", False),
        ("prior", False),
    ]


async def test_a_channel_of_the_callers_own_stays_open(client: Either) -> None:
    async with grpc.aio.insecure_channel(client.address) as channel:
        for _ in range(2):
            async with AsyncClient(channel=channel) as asynchronous:
                await asynchronous.rerank("q", ["1 a"])


async def test_closing_what_is_iterated_over_ends_the_call(
    client: Either, provider: FakeProvider
) -> None:
    await client.rerank("q", ["2 a"])
    provider.answer = Gate(label_in)
    async with AsyncClient(client.address) as asynchronous:
        rankings = asynchronous.rerank_partial("q", ["2 a", "9 b"])
        async with aclosing(rankings):
            assert (await anext(rankings))[0].score == 0.2
        with pytest.raises(StopAsyncIteration):
            await anext(rankings)


async def test_calls_of_a_client_that_is_closed(client: Either, provider: FakeProvider) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    blocking, asynchronous = Client(client.address), AsyncClient(client.address)
    calls = [
        asyncio.create_task(asyncio.to_thread(blocking.rerank, "q", ["1 a"])),
        asyncio.create_task(asynchronous.rerank("q", ["2 b"])),
    ]
    await gate.arrived(2)
    await asyncio.to_thread(blocking.close)
    await asynchronous.close()
    later = [asyncio.to_thread(blocking.models), asynchronous.models()]
    for call in (*calls, *later):
        with pytest.raises(RerankError) as caught:
            await call
        assert caught.value.code is grpc.StatusCode.CANCELLED


async def test_a_task_that_is_cancelled_stays_so(client: Either, provider: FakeProvider) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    asynchronous = AsyncClient(client.address)
    call = asyncio.create_task(asynchronous.rerank("q", ["1 a"]))
    await gate.arrived(1)
    call.cancel()
    await asynchronous.close()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_a_detail_that_cannot_be_read_is_none() -> None:
    status = status_pb2.Status(code=3, message="m")
    for kind in (details_pb.ErrorInfo, details_pb.RetryInfo, details_pb.BadRequest):
        broken = status.details.add()
        broken.type_url = f"type.googleapis.com/{kind.DESCRIPTOR.full_name}"
        broken.value = b"\x0a\x7f"
    trailers = [("grpc-status-details-bin", status.SerializeToString())]
    error = to_error(grpc.StatusCode.INVALID_ARGUMENT, "m", trailers, "there")
    assert (error.reason, error.retry_after, list(error.violations)) == ("", None, [])


def test_a_status_without_details_or_class_of_its_own() -> None:
    error = to_error(grpc.StatusCode.DATA_LOSS, None, None, "there")
    assert (type(error), str(error), error.code) == (
        RerankError,
        "DATA_LOSS",
        grpc.StatusCode.DATA_LOSS,
    )
    broken: list[tuple[str, str | bytes]] = [
        ("other", "x"),
        ("grpc-status-details-bin", b"\xff\xff"),
    ]
    assert to_error(grpc.StatusCode.NOT_FOUND, "gone", broken, "there").reason == ""


async def test_a_token_is_not_sent_in_plain_text() -> None:
    for address in ("far.example:443", "127.0.0.1.example:443", "localhost.example:443"):
        for make in (Client, AsyncClient):
            with pytest.raises(ValueError, match=f"'{address}': .* plain text; set `tls`"):
                make(address, token="t")


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({"tsl": True}, "'tsl'"),
        ({"tls": b" "}, "tls: holds no certificate"),
        ({"tls": "ca.pem"}, "tls: takes True, roots in PEM as bytes, or credentials"),
        ({"token": ""}, "token: is empty, or holds characters that no header takes"),
        ({"token": "SECRET\n"}, "token: is empty, or holds characters that no header takes"),
        ({"token": "SÉCRET"}, "token: is empty, or holds characters that no header takes"),
        ({"service_config": "{"}, "service_config: is no JSON object"),
        ({"service_config": "[]"}, "service_config: is no JSON object"),
        ({"channel": True, "token": "t"}, "'token' is the channel's to say"),
    ],
)
async def test_what_cannot_be_meant_is_refused_at_once(
    connection: dict[str, Any], said: str
) -> None:
    for make, opened in ((Client, grpc.insecure_channel), (AsyncClient, aio_channel)):
        given = connection | ({"channel": opened("127.0.0.1:1")} if "channel" in connection else {})
        with pytest.raises((TypeError, ValueError), match=said) as caught:
            make(**given)
        assert "SECRET" not in str(caught.value)


def test_a_server_that_is_back_is_found_soon() -> None:
    options = dict(way_to("127.0.0.1:9", {}).options)
    assert options["grpc.max_reconnect_backoff_ms"] == 2000  # gRPC's own: two minutes


async def test_credentials_of_ones_own() -> None:
    credentials = grpc.ssl_channel_credentials()
    with Client("127.0.0.1:9", tls=credentials) as client, pytest.raises(UnavailableError):
        client.models()


async def test_no_proxy_leads_to_this_machine(
    client: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    port = client.address.rpartition(":")[2]
    for address in (client.address, f"dns:///localhost:{port}", f"ipv4:127.0.0.1:{port}"):
        async with AsyncClient(address, token="t") as local:
            assert await local.models()


@pytest.mark.parametrize("seconds", [math.inf, 1e15])
async def test_a_timeout_beyond_all_measure(client: Either, seconds: float) -> None:
    client.timeout = seconds
    assert len(await client.rerank("q", ["1 a"])) == 1


async def test_a_server_that_falls_silent(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answer = Gate(label_in)
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        proxy(app.address) as between,
        AsyncClient(between.address, keepalive=1) as client,
    ):
        asking = asyncio.create_task(client.rerank("q", ["1 a"]))
        await provider.answer.arrived(1)
        between.fall_silent()
        with pytest.raises(UnavailableError, match="cannot reach rerankd at 127"):
            await asking


async def test_asking_for_signs_of_life_is_allowed(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_LEAST_PING_MS", 100)
    provider.answer = Gate(label_in)
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        AsyncClient(app.address, keepalive=1) as client,
    ):
        asking = asyncio.create_task(client.rerank("q", ["1 a"]))
        await provider.answer.arrived(1)
        await asyncio.wait([asking], timeout=5)  # gRPC's own server hangs up at the fourth ping
        provider.answer.open()
        assert (await asking)[0].score == 0.1
