"""A provider that fails in every way we know, behind a real server."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.current import SERVICE
from rerankd_server.app import App
from support.provider import Call, FakeProvider, Gate, completion, fails, failure, label_in
from support.server import NOT_SERVING, SERVING, Stub, ask, health, running, stub_of


@pytest.fixture
async def app(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[App]:
    async with running(tmp_path, base_url=provider.base_url, timeout=0.5, attempts=2) as app:
        yield app


@pytest.fixture
async def stub(app: App) -> AsyncGenerator[Stub]:
    async with stub_of(app.address) as stub:
        yield stub


async def reset(call: Call) -> web.StreamResponse:
    """Break the connection without a word."""
    assert call.request.transport
    call.request.transport.abort()
    return web.Response()


async def half(call: Call) -> web.StreamResponse:
    """Break the connection in the middle of a good reply."""
    body = completion("7").body
    assert isinstance(body, bytes)
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(call.request)
    await response.write(body[: len(body) // 2])
    return await reset(call)


async def hang(call: Call) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def drip(call: Call) -> web.StreamResponse:
    """Send a byte now and then, for ever."""
    response = web.StreamResponse()
    await response.prepare(call.request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


FAULTS: dict[str, Callable[[Call], web.StreamResponse | Awaitable[web.StreamResponse]]] = {
    "reset": reset,
    "half a reply": half,
    "hang": hang,
    "drip": drip,
    "garbage": lambda _: web.Response(body=bytes(range(256)), content_type="application/json"),
    "html": lambda _: web.Response(text="<html>Bad gateway</html>", content_type="text/html"),
    "empty": lambda _: web.Response(),
    "cut json": lambda _: web.Response(text='{"choices": [{"mess', content_type="application/json"),
    "500": fails(500),
    "503 with Retry-After": lambda _: failure(503, headers={"Retry-After": "0.1"}),
    "429": fails(429),
    "429 with Retry-After": lambda _: failure(429, headers={"Retry-After": "0.1"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_passes_is_survived(
    stub: Stub, provider: FakeProvider, fault: str
) -> None:
    def once(call: Call) -> web.StreamResponse | Awaitable[web.StreamResponse]:
        return FAULTS[fault](call) if len(provider.calls) == 1 else label_in(call)

    provider.answer = once
    response = await stub.RerankOnce(ask("q", ["7 a"]))
    assert response.results[0].relevance_score == 0.7
    assert response.usage.model_calls == len(provider.calls) == 2
    assert (await stub.RerankOnce(ask("q", ["7 a"]))).usage.cached_pairs == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_stays_ends_with_its_attempts_and_is_never_cached(
    stub: Stub, provider: FakeProvider, fault: str
) -> None:
    provider.answer = FAULTS[fault]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RerankOnce(ask("q", ["7 a"]))
    limited = fault.startswith("429")
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if limited else grpc.StatusCode.UNAVAILABLE
    assert raised.value.code() is code
    assert len(provider.calls) == 2
    provider.answer = label_in
    assert (await stub.RerankOnce(ask("q", ["7 a"]))).usage.scored_pairs == 1


async def test_what_is_no_whole_valid_answer_is_not_cached(
    stub: Stub, provider: FakeProvider
) -> None:
    for answer in (
        completion("7", finish="length"),
        completion(None, refusal="no"),
        completion("7", finish="content_filter"),
        completion("7 or 8"),
        completion("seven"),
        completion(""),
        completion("-3"),
        completion("42"),
    ):
        provider.answer = lambda _, answer=answer: answer  # type: ignore[misc]
        response = await stub.RerankOnce(ask("q", ["7 a"]))
        assert response.results[0].unscored_reason == pb.UNSCORED_REASON_REFUSED
        request = ask("q", ["7 a"], cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
        assert (await stub.RerankOnce(request)).usage.cached_pairs == 0


async def test_an_outage_is_given_up_on_while_the_cache_still_answers(
    app: App, stub: Stub, provider: FakeProvider
) -> None:
    await stub.RerankOnce(ask("q", ["7 a"]))
    provider.answer = fails(503)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.RerankOnce(ask("q", [f"{n} x" for n in range(100)]))
    before = len(provider.calls)
    assert before < 1 + 10 + 32
    assert await health(app.address, "rerankd.provider") == NOT_SERVING
    for service in ("", SERVICE, "rerankd.cache"):
        assert await health(app.address, service) == SERVING
    refused = 0
    for n in range(50):
        mixed = await stub.RerankOnce(ask("q", ["7 a", f"8 {n}"]))
        assert mixed.results[0].relevance_score == 0.7
        assert mixed.results[1].unscored_reason == pb.UNSCORED_REASON_FAILED
        refused += mixed.usage.model_calls == 0
    assert refused > 40
    provider.answer = label_in
    while await health(app.address, "rerankd.provider") == NOT_SERVING:
        response = await stub.RerankOnce(ask("q", ["7 a", "8 back"]))
    assert response.results[0].relevance_score == 0.8


async def test_health_is_watched_by_name(app: App, stub: Stub, provider: FakeProvider) -> None:
    async with grpc.aio.insecure_channel(app.address) as channel:
        request = health_pb2.HealthCheckRequest(service="rerankd.provider")
        watch = aiter(health_pb2_grpc.HealthStub(channel).Watch(request))
        assert (await anext(watch)).status == SERVING
        provider.answer = fails(401)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.RerankOnce(ask("q", ["7 a"]))
        assert (await anext(watch)).status == NOT_SERVING


async def test_a_full_queue_refuses_what_is_new_and_nothing_else(
    provider: FakeProvider, tmp_path: Path
) -> None:
    settings = {"base_url": provider.base_url, "concurrency": 2, "max_queue": 50}
    async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
        await stub.RerankOnce(ask("q", ["9 cached"]))
        provider.answer = gate = Gate(label_in)
        texts = [f"{n % 11} {n}" for n in range(52)]
        full = asyncio.ensure_future(stub.RerankOnce(ask("q", texts)))
        await gate.arrived(2)

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", ["1 new"]))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "50 pairs wait" in str(raised.value.details())
        trailers = dict(raised.value.trailing_metadata() or ())
        assert b"OVERLOADED" in trailers["grpc-status-details-bin"]
        assert b"google.rpc.RetryInfo" in trailers["grpc-status-details-bin"]

        cached = await stub.RerankOnce(ask("q", ["1 new", "9 cached"]))
        assert [result.index for result in cached.results] == [1, 0]
        complete = ask("q", [*texts, "1 new"], require_complete=True)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RerankOnce(complete)  # at once, and not when the others are scored
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for service in ("", SERVICE, "rerankd.provider"):
            assert await health(app.address, service) == SERVING

        same = asyncio.ensure_future(stub.RerankOnce(ask("q", texts)))
        gate.open()
        assert (await full).usage.scored_pairs + (await same).usage.scored_pairs == 52
        assert (await stub.RerankOnce(ask("q", ["1 new"]))).usage.scored_pairs == 1
        assert len(provider.calls) == 1 + 52 + 1
