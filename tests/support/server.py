"""A real server on a free port, and raw stubs to talk to it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd.v1.rerank_pb2_grpc import RerankServiceStub
from rerankd_server.app import App
from rerankd_server.config import Settings

if TYPE_CHECKING:
    from rerankd.v1.rerank_pb2_grpc import RerankServiceAsyncStub

    Stub = RerankServiceAsyncStub
else:
    Stub = RerankServiceStub

UNLIMITED = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


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


def ask(query: str, documents: Sequence[str], **fields: Any) -> pb.RerankRequest:
    return pb.RerankRequest(
        query=query, documents=[pb.Document(text=text) for text in documents], **fields
    )
