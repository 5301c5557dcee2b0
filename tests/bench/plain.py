"""A gRPC server with one method, as anybody would write it: what the floor and the naive loop are.

It prints its port, and serves until its standard input ends.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from rerankd.v1 import rerank_pb2 as pb
from support.options import UNLIMITED

Answer = Callable[[pb.RerankRequest], Awaitable[Any]]


async def serve(answer: Answer, serializer: Callable[[Any], bytes] | None = None) -> None:
    """Serve RerankOnce by `answer`, whose replies `serializer` makes bytes; None: they are."""

    async def handle(request: pb.RerankRequest, context: object) -> Any:
        return await answer(request)

    server = grpc.aio.server(options=UNLIMITED)
    method: Any = grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=pb.RerankRequest.FromString,
        response_serializer=serializer,
    )
    service = "rerankd.v1.RerankService"
    handler = grpc.method_handlers_generic_handler(service, {"RerankOnce": method})
    server.add_generic_rpc_handlers((handler,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)  # noqa: T201
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)
