"""The least that a call can cost: `python -m bench.floor [--uvloop]`.

It parses each request and sends a prepared reply: the same gRPC server as rerankd's, and as large a
reply.
"""

import argparse
import asyncio
from functools import cache

from bench.plain import serve
from rerankd.v1 import rerank_pb2 as pb


async def _answer(request: pb.RerankRequest) -> bytes:
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor")
    parser.add_argument("--uvloop", action="store_true", help="on uvloop instead of asyncio's loop")
    if parser.parse_args().uvloop:
        import uvloop  # noqa: PLC0415

        uvloop.run(serve(_answer))
    else:
        asyncio.run(serve(_answer))


if __name__ == "__main__":
    main()
