"""Memory is bounded in sum: large requests, half-sent ones, packed ones, and crowds of calls."""

import asyncio
import gzip
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

import grpc
from rerankd.v1 import rerank_pb2 as pb
from support.half import half_sent
from support.process import serving
from support.provider import FakeProvider, Gate, label_in
from support.server import SERVING, ask, health, running, stub_of

MEGABYTE = 1 << 20
FLAGS = "--max-bytes-in-flight=32MiB", "--max-message-bytes=32MiB"
RERANK, RERANK_ONCE, CHECK = (
    f"/{name}"
    for name in (
        "rerankd.v1.RerankService/Rerank",
        "rerankd.v1.RerankService/RerankOnce",
        "grpc.health.v1.Health/Check",
    )
)


def is_busy(details: bytes) -> bool:
    """Whether a status says that the server is busy, and when to come again."""
    status = status_pb2.Status.FromString(details)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    return (
        status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        and any(each.Unpack(info) for each in status.details)
        and any(each.Unpack(retry) for each in status.details)
        and info.reason == "SERVER_BUSY"
        and retry.retry_delay.seconds == 1
    )


async def status_of(call: grpc.aio.UnaryUnaryCall[pb.RerankRequest, pb.RerankResponse]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        assert isinstance(details, bytes)
        return "busy" if is_busy(details) else error.code().name
    return "ok"


@pytest.mark.parametrize("method", [RERANK, RERANK_ONCE, CHECK])
async def test_a_message_that_never_ends_is_refused(
    provider: FakeProvider, tmp_path: Path, method: str
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, message_timeout=0.05) as app,
        half_sent(app.address) as call,
    ):
        await call.send(method, MEGABYTE, sent=10)
        answer = await call.answer()
        assert answer["grpc-status"] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        assert "message_timeout" in answer["grpc-message"]
        assert await health(app.address, "") == SERVING


async def test_many_half_sent_messages_take_bounded_memory_and_hold_up_nobody(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, *FLAGS, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
        AsyncExitStack() as stack,
    ):
        await stub.RerankOnce(ask("q", ["7 a"]))
        before = server.memory()
        calls = [await stack.enter_async_context(half_sent(address)) for _ in range(20)]
        size = 60 * MEGABYTE
        sending = [asyncio.create_task(each.send(RERANK_ONCE, size, size - 1)) for each in calls]
        done, _ = await asyncio.wait(sending[:-1])
        assert all(task.exception() is None for task in done)
        refused = [call for call in calls if call.trailers]
        assert len(refused) >= 18, "there is room for one or two"
        assert {call.trailers["grpc-status"] for call in refused} == {"8"}
        assert server.memory() - before < 232 * MEGABYTE
        assert (await stub.RerankOnce(ask("q", ["7 a"]))).usage.cached_pairs == 1
        await asyncio.gather(*sending)


async def test_large_requests_at_once_are_answered_or_told_to_come_again(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, *FLAGS, OPENAI_BASE_URL=provider.base_url) as (server, address),
        AsyncExitStack() as stack,
    ):
        stubs = [
            await stack.enter_async_context(stub_of(address, ("grpc.use_local_subchannel_pool", 1)))
            for _ in range(12)
        ]
        await stubs[0].RerankOnce(ask("q", ["7 a"]))
        before = server.memory()
        mode = pb.CACHE_MODE_ONLY_IF_CACHED
        request = ask("q", [f"{n} " + "x" * MEGABYTE for n in range(15)], cache_mode=mode)
        statuses = Counter(
            await asyncio.gather(*(status_of(stub.RerankOnce(request)) for stub in stubs))
        )
        assert statuses.keys() <= {"ok", "busy"}
        assert server.memory() - before < 232 * MEGABYTE
        assert await status_of(stubs[0].RerankOnce(request)) == "ok", "alone it is always taken"


@pytest.mark.parametrize("pack", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_packed_requests_are_answered(
    provider: FakeProvider, tmp_path: Path, pack: grpc.Compression
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        grpc.aio.insecure_channel(app.address, compression=pack) as channel,
    ):
        call = channel.unary_unary(
            RERANK_ONCE, pb.RerankRequest.SerializeToString, pb.RerankResponse.FromString
        )
        texts = ["2 " + "long " * 500_000, "7 b"]
        response = await call(ask("q", texts))
        assert [result.index for result in response.results] == [1, 0]
        check = channel.unary_unary(
            CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        assert (await check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_what_unpacks_to_too_much_is_unpacked_no_further(
    provider: FakeProvider, tmp_path: Path
) -> None:
    bomb = gzip.compress(bytes(200 * MEGABYTE))
    flags = ("--max-message-bytes=1MiB",)
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        before = server.memory()
        for method in (RERANK_ONCE, CHECK):
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError, match="takes more than") as raised:
                await call(bomb)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert server.memory() - before < 50 * MEGABYTE


async def test_a_crowd_on_one_connection_is_answered(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        stub_of(app.address) as stub,
    ):
        request = ask("q", ["7 a"])
        await stub.RerankOnce(request)
        statuses = Counter(
            await asyncio.gather(*(status_of(stub.RerankOnce(request)) for _ in range(3500)))
        )
        assert statuses == {"ok": 3500}


async def test_beyond_the_most_calls_callers_are_told_to_come_again_and_health_answers(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = gate = Gate(label_in)
    async with (
        running(tmp_path, base_url=provider.base_url, max_calls=2) as app,
        stub_of(app.address) as stub,
    ):
        two = [stub.RerankOnce(ask("q", [f"7 {n}"])) for n in range(2)]
        await gate.arrived(2)
        assert await status_of(stub.RerankOnce(ask("q", ["7 c"]))) == "busy"
        assert await health(app.address, "") == SERVING
        gate.open()
        assert [await status_of(call) for call in two] == ["ok", "ok"]
        assert await status_of(stub.RerankOnce(ask("q", ["7 c"]))) == "ok"


async def test_a_call_without_a_message_is_told_so(provider: FakeProvider, tmp_path: Path) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(RERANK_ONCE)
        with pytest.raises(grpc.aio.AioRpcError, match="request: is missing") as raised:
            await method(iter(()))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
