"""A cache in front of a model as one writes it in ten minutes: `python -m bench.naive FOLDER`.

The same API, diskcache as it comes, a look-up for each pair. Its model makes scores up.
"""

import argparse
import asyncio
from hashlib import sha256
from typing import Any

import diskcache

from bench.plain import Answer, serve
from rerankd.v1 import rerank_pb2 as pb


def _answering(cache: Any) -> Answer:
    async def answer(request: pb.RerankRequest) -> pb.RerankResponse:
        scores = []
        cached = 0
        for document in request.documents:
            key = sha256(f"{request.query}\0{document.text}".encode()).hexdigest()
            score = cache.get(key)
            if score is None:
                score = int(key[:6], 16) / 0xFFFFFF
                cache.set(key, score)
            else:
                cached += 1
            scores.append(score)
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        return pb.RerankResponse(
            results=[
                pb.RankedDocument(
                    index=index, relevance_score=scores[index], source=pb.SCORE_SOURCE_CACHE
                )
                for index in order
            ],
            is_final=True,
            usage=pb.Usage(cached_pairs=cached),
        )

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.naive")
    parser.add_argument("folder")
    with diskcache.Cache(parser.parse_args().folder) as cache:
        asyncio.run(serve(_answering(cache), pb.RerankResponse.SerializeToString))


if __name__ == "__main__":
    main()
