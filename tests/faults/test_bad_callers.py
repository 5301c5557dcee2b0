"""Callers that are late, stop reading, vanish, or ask for one thing twice."""

import asyncio
import sys
from pathlib import Path

import pytest

import grpc
from rerankd.v1 import rerank_pb2 as pb
from support.process import environment, serving
from support.provider import FakeProvider, Gate, failure, label_in
from support.server import ask, running, stub_of

SMALL_WINDOW = ("grpc.http2.bdp_probe", 0)
"""For a reader that stops: gRPC takes no more than 64 KiB for it."""


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.001])
async def test_a_deadline_that_is_over_or_all_but_over_is_answered_and_leaves_nothing(
    provider: FakeProvider, tmp_path: Path, seconds: float
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        stub_of(app.address) as stub,
    ):
        await stub.RerankOnce(ask("q", ["7 warm"]))
        provider.answer = gate = Gate(label_in)
        for _ in range(20):
            call = stub.RerankOnce(ask("q", ["1 a", "2 b"]), timeout=seconds)
            assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
        gate.open()
        response = await stub.RerankOnce(ask("q", ["1 a", "2 b"]))
        assert [result.index for result in response.results] == [1, 0]
        assert len(provider.calls) == 3


async def test_a_hung_provider_holds_no_caller_beyond_the_deadline(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, time_limit=0.5) as app,
        stub_of(app.address) as stub,
    ):
        provider.answer = Gate(label_in)
        texts = ["1 a", "2 b"]
        for timeout in (0.5, None):
            response = await stub.RerankOnce(ask("q", texts), timeout=timeout)
            assert [result.unscored_reason for result in response.results] == [
                pb.UNSCORED_REASON_PENDING
            ] * 2
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.RerankOnce(ask("q", texts, require_complete=True), timeout=timeout)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(provider.calls) == 2


async def test_a_reader_that_stops_costs_no_memory_and_gets_the_latest_when_it_goes_on(
    provider: FakeProvider, tmp_path: Path
) -> None:
    texts = [f"{n % 11} {n} " + "x" * 5000 for n in range(1000)]
    flags = "--partial-interval=0", "--concurrency=64"
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address, SMALL_WINDOW) as stub,
        stub_of(address) as other,
    ):
        call = stub.Rerank(ask("q", texts, partial_results=True, return_documents=True))
        messages = aiter(call)
        await anext(messages)
        before = server.memory()
        # Everything is scored and stored meanwhile, as others can see.
        while True:
            request = ask("q", texts, cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED, top_n=1)
            if (await other.RerankOnce(request)).usage.cached_pairs == len(texts):
                break
        # Each ranking takes 5 MB, and hundreds were due.
        assert server.memory() - before < 100 << 20
        rest = [message.is_final async for message in messages]
        assert len(rest) < 10
        assert rest[-1]


async def test_callers_that_vanish_leave_nothing_but_what_was_sent(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = gate = Gate(label_in)
    async with (
        running(tmp_path, base_url=provider.base_url, concurrency=4) as app,
        stub_of(app.address) as stub,
    ):
        calls = [
            asyncio.ensure_future(stub.RerankOnce(ask(f"{n % 7}", [f"{m} {n}" for m in range(20)])))
            for n in range(1000)
        ]
        await gate.arrived(4)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        (cache, _) = app._menu.caches
        while cache._flights._room.taken:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gate.open()
        after = await stub.RerankOnce(ask("after", ["5 x"]))
        assert after.usage.scored_pairs == 1
        assert provider.most_in_flight == 4
        assert len(provider.calls) == 5
        await cache.drain()
        assert not cache._flights._in_flight
        assert cache._flights._room.taken == 0
        kept = pb.CACHE_MODE_ONLY_IF_CACHED
        for sent in provider.calls:
            response = await stub.RerankOnce(ask(sent.query, [sent.document], cache_mode=kept))
            assert response.usage.cached_pairs == 1


async def test_a_second_attempt_is_not_made_for_nobody(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = lambda _: failure(429, headers={"Retry-After": "0.3"})
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        stub_of(app.address) as stub,
    ):
        (cache, _) = app._menu.caches
        call = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a"])))
        while not provider.calls or provider.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await cache.drain()
        assert len(provider.calls) == 1
        assert not cache._flights._in_flight


async def test_a_client_whose_process_is_killed_disturbs_nobody(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = gate = Gate(label_in)
    documents = tmp_path / "documents.txt"
    documents.write_text("1 a\n2 b\n")
    async with (
        running(tmp_path / "data", base_url=provider.base_url) as app,
        stub_of(app.address) as stub,
    ):
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rerankd_server", "rank", "q", str(documents)),
            *("--address", app.address),
            env=environment(),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await gate.arrived(2)
        survivor = asyncio.ensure_future(stub.RerankOnce(ask("q", ["2 b", "1 a"])))
        client.kill()
        await client.wait()
        gate.open()
        assert [result.index for result in (await survivor).results] == [0, 1]
        assert len(provider.calls) == 2


async def test_equal_ids_and_equal_calls_are_calls_of_their_own(
    provider: FakeProvider, tmp_path: Path
) -> None:
    request = ask("q", ["1 a", "2 b"])
    for document in request.documents:
        document.id = "same"
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        stub_of(app.address) as stub,
    ):
        metadata = (("x-request-id", "same"),)
        responses = await asyncio.gather(
            *(stub.RerankOnce(request, metadata=metadata) for _ in range(10))
        )
        assert {tuple((r.index, r.id) for r in each.results) for each in responses} == {
            ((1, "same"), (0, "same"))
        }
        assert len(provider.calls) == 2
