"""The API through a real channel: rankings, modes, models, health, reflection."""

import asyncio
import random
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.current import SERVICE
from rerankd_server.errors import ConfigError
from support.provider import Call, FakeProvider, Gate, completion, failure, label_in
from support.server import Stub, ask, running, stub_of


@pytest.fixture
async def stub(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[Stub]:
    async with (
        running(tmp_path, base_url=provider.base_url, partial_interval=0) as app,
        stub_of(app.address) as stub,
    ):
        yield stub


def order(response: pb.RerankResponse) -> list[int]:
    return [result.index for result in response.results]


def scores(response: pb.RerankResponse) -> list[float]:
    return [result.relevance_score for result in response.results]


async def test_a_ranking(stub: Stub, provider: FakeProvider) -> None:
    response = await stub.RerankOnce(ask("q", ["2 a", "9 b", "0 c", "5 d"]))
    assert order(response) == [1, 3, 0, 2]
    assert scores(response) == [0.9, 0.5, 0.2, 0.0]
    assert all(result.HasField("relevance_score") for result in response.results)
    assert {result.source for result in response.results} == {pb.SCORE_SOURCE_MODEL}
    assert response.is_final
    assert response.model == "gpt-4o-mini"
    assert response.usage == pb.Usage(
        scored_pairs=4, model_calls=4, prompt_tokens=400, completion_tokens=4
    )
    assert {call.query for call in provider.calls} == {"q"}


async def test_the_same_again_costs_nothing(stub: Stub, provider: FakeProvider) -> None:
    texts = ["2 a", "9 b", "0 c"]
    await stub.RerankOnce(ask("q", texts))
    response = await stub.RerankOnce(ask("q", texts[::-1]))
    assert len(provider.calls) == 3
    assert order(response) == [1, 2, 0]
    assert {result.source for result in response.results} == {pb.SCORE_SOURCE_CACHE}
    assert response.usage == pb.Usage(
        cached_pairs=3, saved_prompt_tokens=300, saved_completion_tokens=3
    )


async def test_a_new_document_costs_one_call(stub: Stub, provider: FakeProvider) -> None:
    await stub.RerankOnce(ask("q", ["2 a", "9 b"]))
    response = await stub.RerankOnce(ask("q", ["2 a", "9 b", "5 c"]))
    assert provider.documents[2:] == ["5 c"]
    assert [result.source for result in response.results] == [
        pb.SCORE_SOURCE_CACHE,
        pb.SCORE_SOURCE_MODEL,
        pb.SCORE_SOURCE_CACHE,
    ]


async def test_what_a_restart_leaves(provider: FakeProvider, tmp_path: Path) -> None:
    for calls in (2, 2):
        async with (
            running(tmp_path, base_url=provider.base_url) as app,
            stub_of(app.address) as stub,
        ):
            await stub.RerankOnce(ask("q", ["2 a", "9 b"]))
        assert len(provider.calls) == calls


async def test_ids_documents_and_duplicates(stub: Stub, provider: FakeProvider) -> None:
    request = pb.RerankRequest(
        query="q",
        documents=[
            pb.Document(text="3 same", id="a", prior_score=0.25),
            pb.Document(text="8 é日😀", id="é"),
            pb.Document(text="3 same", id="a"),
        ],
        return_documents=True,
    )
    response = await stub.RerankOnce(request)
    assert [(result.index, result.id) for result in response.results] == [
        (1, "é"),
        (0, "a"),
        (2, "a"),
    ]
    assert [result.document for result in response.results] == [
        request.documents[result.index] for result in response.results
    ]
    assert response.usage.scored_pairs == len(provider.calls) == 2


async def test_what_no_score_depends_on_is_not_in_the_key(
    stub: Stub, provider: FakeProvider
) -> None:
    await stub.RerankOnce(ask("q", ["2 a", "9 b"]))
    changed = pb.RerankRequest(
        query="q",
        documents=[pb.Document(text="9 b", id="other", prior_score=3.5)],
        model="gpt-4o-mini",
        top_n=7,
        return_documents=True,
        partial_results=True,
        require_complete=True,
        cache_mode=pb.CACHE_MODE_READ_WRITE,
    )
    assert (await stub.RerankOnce(changed)).usage.cached_pairs == 1
    assert len(provider.calls) == 2


async def test_what_a_score_depends_on_is(stub: Stub, provider: FakeProvider) -> None:
    for request in (ask("q", ["2 a"]), ask("p", ["2 a"]), ask("q", ["2 b"])):
        assert (await stub.RerankOnce(request)).usage.scored_pairs == 1
    request = ask("q", ["2 a"], instruction="only recipes")
    assert (await stub.RerankOnce(request)).usage.scored_pairs == 1
    assert "only recipes" in provider.calls[-1].prompt
    assert (await stub.RerankOnce(ask("q", ["2 a"], model="lexical"))).usage.scored_pairs == 1
    assert len(provider.calls) == 4


async def test_without_partial_results_there_is_one_message(stub: Stub) -> None:
    messages = [message async for message in stub.Rerank(ask("q", ["2 a", "9 b"]))]
    assert [message.is_final for message in messages] == [True]


async def test_partial_results_begin_with_what_is_cached(
    stub: Stub, provider: FakeProvider
) -> None:
    await stub.RerankOnce(ask("q", ["2 a", "9 b"]))
    gate = Gate(label_in)
    provider.answer = gate
    call = stub.Rerank(ask("q", ["5 new", "2 a", "9 b"], partial_results=True))
    replies = aiter(call)
    first = await anext(replies)
    assert order(first) == [2, 1, 0]
    assert not first.is_final
    assert not first.results[2].HasField("relevance_score")
    assert first.results[2].unscored_reason == pb.UNSCORED_REASON_PENDING
    gate.open()
    rest = [message async for message in replies]
    assert order(rest[-1]) == [2, 0, 1]
    assert [message.is_final for message in rest] == [False] * (len(rest) - 1) + [True]


async def test_only_if_cached(stub: Stub, provider: FakeProvider) -> None:
    await stub.RerankOnce(ask("q", ["2 a"]))
    request = ask("q", ["9 b", "2 a"], cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
    response = await stub.RerankOnce(request)
    assert order(response) == [1, 0]
    assert response.results[1].unscored_reason == pb.UNSCORED_REASON_NOT_CACHED
    assert response.usage == pb.Usage(
        cached_pairs=1, unscored_pairs=1, saved_prompt_tokens=100, saved_completion_tokens=1
    )
    assert len(provider.calls) == 1


async def test_refresh_and_bypass(stub: Stub, provider: FakeProvider) -> None:
    await stub.RerankOnce(ask("q", ["2 a"]))
    provider.answer = lambda _: completion("6")
    for mode, then in ((pb.CACHE_MODE_BYPASS, 0.2), (pb.CACHE_MODE_REFRESH, 0.6)):
        assert scores(await stub.RerankOnce(ask("q", ["2 a"], cache_mode=mode))) == [0.6]
        assert scores(await stub.RerankOnce(ask("q", ["2 a"]))) == [then]
    assert len(provider.calls) == 3


async def test_a_reply_without_a_score_is_refused_and_not_paid_for_again(
    stub: Stub, provider: FakeProvider
) -> None:
    provider.answer = lambda call: completion("eleven" if call.document == "9 b" else "4")
    for calls in (2, 0):
        response = await stub.RerankOnce(ask("q", ["9 b", "2 a"]))
        assert order(response) == [1, 0]
        assert not response.results[1].HasField("relevance_score")
        assert response.results[1].unscored_reason == pb.UNSCORED_REASON_REFUSED
        assert response.results[1].unscored_detail == pb.UNSCORED_DETAIL_UNREADABLE
        assert response.usage.unscored_pairs == 1
        assert response.usage.model_calls == calls


@pytest.mark.parametrize("mode", [pb.CACHE_MODE_REFRESH, pb.CACHE_MODE_BYPASS])
async def test_who_wants_a_fresh_score_is_not_told_of_old_refusals(
    stub: Stub, provider: FakeProvider, mode: pb.CacheMode
) -> None:
    provider.answer = lambda _: completion("eleven")
    await stub.RerankOnce(ask("q", ["9 b"]))
    provider.answer = label_in
    assert scores(await stub.RerankOnce(ask("q", ["9 b"], cache_mode=mode))) == [0.9]
    known = await stub.RerankOnce(ask("q", ["9 b"]))
    assert scores(known) == [0.9]  # nobody is told any more that it was refused
    assert known.usage.model_calls == (mode == pb.CACHE_MODE_BYPASS)


async def test_a_refusal_is_forgotten_where_none_is_to_be_remembered(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = lambda _: completion("eleven")
    settings = {"base_url": provider.base_url, "refused_ttl": 0}
    async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
        for _ in range(3):
            await stub.RerankOnce(ask("q", ["9 b"]))
    assert len(provider.calls) == 3


async def test_a_zero_is_a_score_and_a_hit(stub: Stub) -> None:
    for source in (pb.SCORE_SOURCE_MODEL, pb.SCORE_SOURCE_CACHE):
        (result,) = (await stub.RerankOnce(ask("q", ["0 nothing"]))).results
        assert result.HasField("relevance_score")
        assert (result.relevance_score, result.source) == (0.0, source)


async def test_a_model_that_takes_nothing_but_messages(stub: Stub, provider: FakeProvider) -> None:
    def picky(call: Call) -> web.Response:
        for name in ("temperature", "max_tokens", "logprobs"):
            if name in call.body:
                return failure(400, "unsupported_parameter", f"no {name}", param=name)
        return label_in(call)

    provider.answer = picky
    assert scores(await stub.RerankOnce(ask("q", ["2 a"]))) == [0.2]
    rejected = len(provider.calls) - 1
    assert scores(await stub.RerankOnce(ask("q", ["9 b"]))) == [0.9]
    assert len(provider.calls) == rejected + 2


async def test_long_documents_share_what_stands_before_the_cut(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, max_document_chars=5) as app,
        stub_of(app.address) as stub,
    ):
        response = await stub.RerankOnce(ask("q", ["7 日本語です", "7 日本語でも"]))
    assert provider.documents == ["7 日本語"]
    assert scores(response) == [0.7, 0.7]


async def test_list_models(stub: Stub) -> None:
    models = (await stub.ListModels(pb.ListModelsRequest())).models
    assert [(model.name, model.is_default) for model in models] == [
        ("gpt-4o-mini", True),
        ("lexical", False),
        ("prior", False),
    ]
    assert all(model.description for model in models)


async def test_concurrent_requests_stay_within_the_limit(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    async with (
        running(tmp_path, base_url=provider.base_url, concurrency=4) as app,
        stub_of(app.address) as stub,
    ):
        calls = [
            asyncio.ensure_future(stub.RerankOnce(ask(f"q{n}", [f"{m} x" for m in range(5)])))
            for n in range(6)
        ]
        await gate.arrived(4)
        gate.open()
        await asyncio.gather(*calls)
    assert provider.most_in_flight == 4
    assert len(provider.calls) == 30


async def test_health_and_reflection(provider: FakeProvider, tmp_path: Path) -> None:
    app_settings = {"base_url": provider.base_url}
    async with (
        running(tmp_path, **app_settings) as app,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            checked = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert checked.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (listed,) = [reply async for reply in reflection.ServerReflectionInfo(iter([asked]))]
        names = {service.name for service in listed.list_services_response.service}
        assert {SERVICE, "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    ("symbol", "is_there"),
    [
        (SERVICE, True),
        (f"{SERVICE}.RerankOnce", True),  # ghz asks for methods
        ("rerankd.v1.Document.text", True),
        (f"{SERVICE}.RerankTwice", False),
        ("rerankd.v1.Elsewhere.RerankOnce", False),
        ("", False),
    ],
)
async def test_reflection_finds_what_there_is(
    provider: FakeProvider, tmp_path: Path, symbol: str, is_there: bool
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
        (found,) = [reply async for reply in reflection.ServerReflectionInfo(iter([asked]))]
        assert found.HasField("file_descriptor_response") is is_there
        if not is_there:
            assert found.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_unix_socket(provider: FakeProvider, tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/rerankd.sock"
    async with (
        running(tmp_path, base_url=provider.base_url, listen=listen) as app,
        stub_of(app.address) as stub,
    ):
        assert app.address == listen
        with pytest.raises(ConfigError, match="another process may use it"):
            async with running(tmp_path, listen=listen):
                pass
        assert scores(await stub.RerankOnce(ask("q", ["2 a"]))) == [0.2]


async def test_a_call_is_answered_before_its_deadline_and_what_was_sent_is_kept(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, deadline_margin=0.6, concurrency=2) as app,
        stub_of(app.address) as stub,
    ):
        await stub.RerankOnce(ask("q", ["9 cached"]))
        gate = Gate(label_in)
        provider.answer = gate
        texts = ["1 sent", "2 sent", "3 not sent", "9 cached"]
        response = await stub.RerankOnce(ask("q", texts), timeout=1.0)
        assert order(response) == [3, 0, 1, 2]
        assert [result.unscored_reason for result in response.results[1:]] == [
            pb.UNSCORED_REASON_PENDING
        ] * 3
        gate.open()
        later = await stub.RerankOnce(ask("q", texts))
        assert order(later) == [3, 2, 1, 0]
    assert sorted(provider.documents) == sorted(texts)  # each was bought once


async def test_a_call_without_a_deadline_gets_the_servers(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = Gate(label_in)
    async with (
        running(tmp_path, base_url=provider.base_url, time_limit=0.1) as app,
        stub_of(app.address) as stub,
    ):
        response = await stub.RerankOnce(ask("q", ["1 a"]))
    assert response.results[0].unscored_reason == pb.UNSCORED_REASON_PENDING


async def test_a_crowd_with_the_same_documents_buys_each_pair_once(
    stub: Stub, provider: FakeProvider
) -> None:
    texts = [f"{n % 11} text {n}" for n in range(100)]
    crowd = [stub.RerankOnce(ask("q", texts)) for _ in range(100)]
    responses = await asyncio.gather(*crowd)
    assert len(provider.calls) == 100
    assert sum(response.usage.model_calls for response in responses) == 100
    assert len({tuple(scores(response)) for response in responses}) == 1


async def test_a_crowd_with_overlapping_halves_buys_the_distinct_pairs(
    stub: Stub, provider: FakeProvider
) -> None:
    chance = random.Random(7)
    texts = [f"{n % 11} text {n}" for n in range(200)]
    halves = [chance.sample(texts, 100) for _ in range(100)]
    responses = await asyncio.gather(*(stub.RerankOnce(ask("q", half)) for half in halves))
    assert sorted(provider.documents) == sorted({text for half in halves for text in half})
    for response, half in zip(responses, halves, strict=True):
        assert len(response.results) == 100
        for result in response.results:
            assert result.relevance_score == int(half[result.index].split()[0]) / 10


async def test_one_document_does_not_wait_behind_many(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async def slow(call: Call) -> web.Response:
        await asyncio.sleep(0.05)  # a model's latency
        return label_in(call)

    provider.answer = slow
    async with (
        running(tmp_path, base_url=provider.base_url, concurrency=2) as app,
        stub_of(app.address) as stub,
    ):
        many = asyncio.ensure_future(stub.RerankOnce(ask("many", [f"1 {n}" for n in range(60)])))
        while len(provider.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await stub.RerankOnce(ask("one", ["9 x"]))
        assert len(provider.calls) < 20  # of the sixty-one
        await many
