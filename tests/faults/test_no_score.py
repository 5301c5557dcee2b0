"""Nothing is paid for in vain (20), and what was spent is charged (21), on a real server."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.app import App
from rerankd_server.scoring.parameters import ROOM_TO_THINK
from support.provider import Call, FakeProvider, Gate, completion, failure, label_in, labels_in
from support.server import NOT_SERVING, SERVING, ask, health, running, stub_of

CONCURRENCY = 32
TEXTS = [f"{n % 11} {n}" for n in range(300)]
BATCHED = {"kind": "batched", "model": "m"}
RECIPES = {"b": BATCHED, "p": {"kind": "pointwise", "model": "m"}}


@pytest.fixture
async def app(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[App]:
    settings = {"base_url": provider.base_url, "recipes": RECIPES, "model": "p"}
    async with running(tmp_path, **settings) as app:
        yield app


IN_VAIN: dict[str, tuple[Callable[[], web.Response], int]] = {
    "unreadable": (lambda: completion("I cannot say."), pb.UNSCORED_DETAIL_UNREADABLE),
    "empty": (lambda: completion(""), pb.UNSCORED_DETAIL_EMPTY_REPLY),
    "nothing": (lambda: completion(None), pb.UNSCORED_DETAIL_EMPTY_REPLY),
    "cut off": (lambda: completion("It", finish="length"), pb.UNSCORED_DETAIL_CUT_OFF),
    "cut off in thought": (lambda: completion("", finish="length"), pb.UNSCORED_DETAIL_CUT_OFF),
    "thinks": (lambda: completion("<think>Hm", finish="length"), pb.UNSCORED_DETAIL_CUT_OFF),
    "declined": (lambda: completion(None, refusal="no"), pb.UNSCORED_DETAIL_DECLINED),
    "filtered": (lambda: failure(400, "content_filter"), pb.UNSCORED_DETAIL_DECLINED),
}


@pytest.mark.parametrize("model", ["p", "b"])
@pytest.mark.parametrize("kind", IN_VAIN)
async def test_a_model_that_gives_no_score_is_not_paid_for_ever(
    app: App, provider: FakeProvider, kind: str, model: str
) -> None:
    reply, detail = IN_VAIN[kind]
    provider.answer = lambda _: reply()
    async with stub_of(app.address) as stub:
        for _ in range(10):
            response = await stub.RerankOnce(ask("q", TEXTS, model=model))
            assert {r.unscored_reason for r in response.results} == {pb.UNSCORED_REASON_REFUSED}
            assert {r.unscored_detail for r in response.results} == {detail}
    assert len(provider.calls) <= CONCURRENCY + 16


async def test_while_nothing_is_asked_hits_are_served_and_health_says_so(
    app: App, provider: FakeProvider
) -> None:
    async with stub_of(app.address) as stub:
        await stub.RerankOnce(ask("q", ["9 known"]))
        assert await health(app.address, "rerankd.provider") == SERVING
        provider.answer = lambda _: completion("?")
        await stub.RerankOnce(ask("q", TEXTS))
        assert await health(app.address, "rerankd.provider") == NOT_SERVING
        before = len(provider.calls)
        response = await stub.RerankOnce(ask("q", ["8 new", "9 known"]))
        assert [r.index for r in response.results] == [1, 0]
        assert response.results[1].unscored_reason == pb.UNSCORED_REASON_REFUSED
        assert response.usage.model_calls == 0
        assert len(provider.calls) == before

        # Who wants a fresh score asks once, and where that works all is well again.
        provider.answer = label_in
        fresh = ask("q", ["8 new"], cache_mode=pb.CACHE_MODE_REFRESH)
        assert (await stub.RerankOnce(fresh)).usage.scored_pairs == 1
        assert await health(app.address, "rerankd.provider") == SERVING
        assert (await stub.RerankOnce(ask("q", ["7 newer"]))).usage.scored_pairs == 1


async def test_refused_calls_come_to_an_end_too(app: App, provider: FakeProvider) -> None:
    provider.answer = lambda _: failure(400, message="Invalid request")
    async with stub_of(app.address) as stub:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.RerankOnce(ask("q", TEXTS))
            assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert len(provider.calls) <= CONCURRENCY + 24  # two of them try the least


@pytest.mark.parametrize("where", ["first", "last", "middle", "apart"])
@pytest.mark.parametrize("concurrency", [1, 4, 32])
async def test_some_refusals_among_good_documents_stop_nothing(
    provider: FakeProvider, tmp_path: Path, where: str, concurrency: int
) -> None:
    bad = [f"x {n}" for n in range(15)]
    good = [f"{n % 11} {n}" for n in range(200)]
    texts = {
        "first": [*bad, *good],
        "last": [*good, *bad],
        "middle": [*good[:100], *bad, *good[100:]],
        "apart": [text for n, text in enumerate(good) for text in (text, *bad[n : n + 1])],
    }[where]
    provider.answer = lambda call: (
        completion("?") if call.document.startswith("x") else label_in(call)
    )
    settings = {"base_url": provider.base_url, "concurrency": concurrency}
    async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
        response = await stub.RerankOnce(ask("q", texts))
        assert response.usage.scored_pairs == 200
        assert await health(app.address, "rerankd.provider") == SERVING
        again = await stub.RerankOnce(ask("q", [*texts, "5 new"]))
        assert (again.usage.cached_pairs, again.usage.scored_pairs) == (200, 1)
        assert again.usage.unscored_pairs == 15


@pytest.mark.parametrize("model", ["p", "b"])
@pytest.mark.parametrize("thought", ["", "<think>\nIs it 3?", "[THINK]It may be 2"])
async def test_a_model_that_thinks_first_gets_room_by_itself(
    app: App, provider: FakeProvider, model: str, thought: str
) -> None:
    def thinks(call: Call) -> web.Response:
        if call.body["max_tokens"] < 1000:
            return completion(thought, finish="length", usage=(100, call.body["max_tokens"]))
        return labels_in(call) if call.named_documents else label_in(call)

    provider.answer = thinks
    async with stub_of(app.address) as stub:
        with capture_logs() as logs:
            response = await stub.RerankOnce(ask("q", TEXTS[:40], model=model))
        assert response.usage.scored_pairs == 40
        cut_off = [call for call in provider.calls if call.body["max_tokens"] < 1000]
        assert len(cut_off) <= CONCURRENCY
        events = [log["event"] for log in logs]
        assert events.count("the model thinks first: it gets more tokens") == 1
        before = len(provider.calls)
        await stub.RerankOnce(ask("other", TEXTS[:40], model=model))
        limits = {call.body["max_tokens"] for call in provider.calls[before:]}
        assert limits == {ROOM_TO_THINK}


async def test_why_there_is_no_score_is_logged_with_a_hint(
    app: App, provider: FakeProvider
) -> None:
    provider.answer = lambda _: completion("This is", finish="length", usage=(100, 8))
    async with stub_of(app.address) as stub:
        with capture_logs() as logs:
            await stub.RerankOnce(ask("q", TEXTS[:10]))
    (line,) = [log for log in logs if log["event"] == "documents without a score"]
    assert line["why"] == [
        "10 of 10 answers were cut off at 8 tokens: does the model think first? set max_tokens"
    ]


async def test_what_the_log_says_once_it_says_once(app: App, provider: FakeProvider) -> None:
    provider.answer = lambda call: completion(
        call.document.split()[0], finish="eot", usage=(100, 1)
    )
    long = "7 " + "bees and honey " * 1000
    async with stub_of(app.address) as stub:
        with capture_logs() as logs:
            for n in range(3):
                response = await stub.RerankOnce(ask("q", [f"{long}{n}", f"5 {n}"]))
                assert response.usage.scored_pairs == 2
    said = [log["event"].partition(":")[0] for log in logs if log["log_level"] == "warning"]
    assert sorted(said) == [
        "the provider cuts prompts",
        "the provider says no finish reason that is known",
    ]


@pytest.mark.parametrize(("model", "count", "calls"), [("p", 3, 3), ("b", 20, 2)])
async def test_calls_that_a_deadline_left_behind_are_charged(
    app: App, provider: FakeProvider, model: str, count: int, calls: int
) -> None:
    provider.answer = gate = Gate(labels_in if model == "b" else label_in)
    asked = ask("q", TEXTS[:count], model=model)
    async with stub_of(app.address) as stub:
        call = asyncio.ensure_future(stub.RerankOnce(asked, timeout=3))
        await gate.arrived(calls)
        response = await call
        assert {r.unscored_reason for r in response.results} == {pb.UNSCORED_REASON_PENDING}
        assert response.usage.model_calls == response.usage.pending_calls == calls
        assert response.usage.prompt_tokens == 0
        gate.open()
        later = await stub.RerankOnce(asked)
        assert later.usage.model_calls == later.usage.pending_calls == 0
        assert later.usage.cached_pairs + later.usage.shared_pairs == count
    ((address, name),) = app.spent
    assert (address, name) == (provider.base_url, "m")
    spent = app.spent[address, name]
    assert (spent.calls, spent.prompt_tokens) == (calls, 100 * count)


async def test_what_replies_in_vain_took_is_charged(app: App, provider: FakeProvider) -> None:
    provider.answer = lambda _: completion("", finish="length", usage=(100, 8))
    async with stub_of(app.address) as stub:
        usage = (await stub.RerankOnce(ask("q", ["1 a"]))).usage
    assert usage.model_calls == len(provider.calls) == 2  # once with room to think
    assert (usage.prompt_tokens, usage.completion_tokens) == (200, 16)
    (spent,) = app.spent.values()
    assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == (2, 200, 16)


async def test_a_reply_without_a_readable_error_leaks_nothing(
    app: App, provider: FakeProvider
) -> None:
    secret = json.dumps({"error": {"message": "sk-sentinel: a private text", "code": "sk-x"}})
    provider.answer = lambda _: web.Response(
        status=400, text=secret, content_type="application/json"
    )
    async with stub_of(app.address) as stub:
        with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", ["1 a"]))
    assert "sentinel" not in f"{raised.value} {logs}"
