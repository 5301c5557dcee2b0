"""A real server on a free port, and raw stubs to talk to it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd.v1.rerank_pb2_grpc import RerankServiceStub
from rerankd_server.app import App
from rerankd_server.config import Settings
from support.options import UNLIMITED

if TYPE_CHECKING:
    from rerankd.v1.rerank_pb2_grpc import RerankServiceAsyncStub

    Stub = RerankServiceAsyncStub
else:
    Stub = RerankServiceStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def running(data_dir: Path, **settings: Any) -> AsyncGenerator[App]:
    app = App(
        Settings.model_validate(
            {"listen": "127.0.0.1:0", "data_dir": data_dir, "grace": 0.2} | settings
        )
    )
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


@asynccontextmanager
async def stub_of(address: str, *options: tuple[str, int]) -> AsyncGenerator[Stub]:
    async with grpc.aio.insecure_channel(address, options=(*UNLIMITED, *options)) as channel:
        yield cast("Stub", RerankServiceStub(channel))


async def health(address: str, service: str) -> int:
    """What the server at `address` says of `service`."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


def ask(query: str, documents: Sequence[str], **fields: Any) -> pb.RerankRequest:
    return pb.RerankRequest(
        query=query, documents=[pb.Document(text=text) for text in documents], **fields
    )
