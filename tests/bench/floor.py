"""The least that a call can cost: `python -m bench.floor`.

It parses each request and sends a prepared reply: the same gRPC server as rerankd's, and as large a
reply. It prints its port, and serves until its standard input ends.
"""

import asyncio
import sys
from functools import cache
from typing import Any

import grpc
from rerankd.v1 import rerank_pb2 as pb

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


async def _answer(request: pb.RerankRequest, context: object) -> bytes:
    return _prepared(len(request.documents))


@cache
def _prepared(documents: int) -> bytes:
    """Write a reply as rerankd's, but for another order."""
    ranking = pb.RerankResponse(
        results=[
            pb.RankedDocument(
                index=n,
                relevance_score=1 - n / documents,
                source=pb.SCORE_SOURCE_CACHE,
            )
            for n in range(documents)
        ],
        is_final=True,
        model="gpt-4o-mini",
        usage=pb.Usage(cached_pairs=documents, saved_prompt_tokens=45_000, cost_usd=0.0),
    )
    return ranking.SerializeToString()


async def _serve() -> None:
    server = grpc.aio.server(options=_OPTIONS)
    method: Any = grpc.unary_unary_rpc_method_handler(
        _answer, request_deserializer=pb.RerankRequest.FromString
    )
    service = "rerankd.v1.RerankService"
    handler = grpc.method_handlers_generic_handler(service, {"RerankOnce": method})
    server.add_generic_rpc_handlers((handler,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)  # noqa: T201
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_serve())
