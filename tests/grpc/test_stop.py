"""How a server stops: it says so first, serves on for a while, and then refuses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.app import App
from support.clock import settle
from support.provider import FakeProvider, Gate, label_in
from support.server import NOT_SERVING, SERVING, ask, health, running, stub_of


async def stopping(app: App) -> tuple[asyncio.Task[None], dict[str, Any]]:
    """Begin to stop; gives what the log says of it."""
    with capture_logs() as logs:
        task = asyncio.create_task(app.stop())
        await settle()
    return task, dict(logs[0])


async def statuses(watch: AsyncIterator[health_pb2.HealthCheckResponse]) -> list[int]:
    return [int(each.status) async for each in watch]


async def test_it_serves_on_while_clients_learn_that_it_stops(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, drain=1000) as app,
        stub_of(app.address) as stub,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        await stub.RerankOnce(ask("q", ["7 a"]))
        watch = aiter(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()))
        assert (await anext(watch)).status == SERVING
        task, said = await stopping(app)
        assert await statuses(watch) == [NOT_SERVING]
        assert await health(app.address, "") == NOT_SERVING
        assert (await stub.RerankOnce(ask("q", ["7 a", "2 b"]))).usage.scored_pairs == 1
        app.hurry()
        await task
        assert said["event"] == "stopping"
        assert said["drain"] == 1000
        assert "again" in said["fix"]


@pytest.mark.parametrize(("looks", "seconds"), [(True, 1.0), (False, 0.0)])
async def test_it_serves_on_by_itself_where_somebody_looks_at_its_health(
    provider: FakeProvider, tmp_path: Path, looks: bool, seconds: float
) -> None:
    async with running(tmp_path, base_url=provider.base_url) as app:
        if looks:
            await health(app.address, "")
        task, said = await stopping(app)
        app.hurry()
        await task
        assert said["drain"] == seconds


async def test_it_says_how_many_calls_it_waits_for_and_refuses_others(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = gate = Gate(label_in)
    async with (
        running(tmp_path, base_url=provider.base_url, grace=1000) as app,
        stub_of(app.address) as stub,
        stub_of(app.address, ("grpc.use_local_subchannel_pool", 1)) as other,
    ):
        await other.ListModels(pb.ListModelsRequest())
        call = stub.RerankOnce(ask("q", ["7 a"]))
        await gate.arrived(1)
        task, said = await stopping(app)
        assert (said["calls"], said["grace"]) == (1, 1000)
        assert await other.RerankOnce(ask("q", ["7 b"])).code() is grpc.StatusCode.UNAVAILABLE
        gate.open()
        assert (await call).usage.scored_pairs == 1
        await task
