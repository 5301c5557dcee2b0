"""A model on loopback that takes its time, in a process of its own: `python -m bench.model`.

It prints its address. Every call gets the same reply, of the size that OpenAI's has with 20
log-probabilities, so that it costs little here and as much as a real one in whoever reads it.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Mapping

from aiohttp import web

from bench.limits import Bucket, Limit, Unlimited, Window
from support.http import listening

_LIMITS: Mapping[str, type[Limit]] = {"none": Unlimited, "bucket": Bucket, "window": Window}
_TOKENS = [f"{n}" for n in range(11)] + [f" {n}" for n in range(9)]


class Model:
    """Answers each call after `latency` seconds, as far as `limit` allows.

    `tells` says whether its headers tell what is left, `asks` whether a 429 has a Retry-After.
    """

    def __init__(self, latency: float, limit: Limit, *, tells: bool, asks: bool) -> None:
        self._latency = latency
        self._limit = limit
        self._tells = tells
        self._asks = asks
        self._counts = {"arrived": 0, "answered": 0, "rejected": 0}

    async def complete(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._latency
        await request.read()
        self._counts["arrived"] += 1
        now = loop.time()
        allowed = self._limit.take(now)
        headers = dict(self._limit.told(now)) if self._tells else {}
        if not allowed:
            self._counts["rejected"] += 1
            if self._asks:
                headers["retry-after"] = str(math.ceil(self._limit.wait(now)))
            return web.Response(
                status=429, body=_REJECTION, content_type="application/json", headers=headers
            )
        await asyncio.sleep(due - now)
        self._counts["answered"] += 1
        return web.Response(body=_COMPLETION, content_type="application/json", headers=headers)

    async def change_latency(self, request: web.Request) -> web.Response:
        self._latency = float(await request.text())
        return web.Response()

    async def counts(self, request: web.Request) -> web.Response:
        return web.json_response(self._counts)


def _completion() -> bytes:
    top = [
        {"token": token, "logprob": -0.1 - n, "bytes": list(token.encode())}
        for n, token in enumerate(_TOKENS)
    ]
    reply = {
        "id": "chatcmpl-B0000000000000000000000000000",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": _TOKENS[0],
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": {"content": [top[0] | {"top_logprobs": top}], "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 450,
            "completion_tokens": 1,
            "total_tokens": 451,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0000000000",
    }
    return json.dumps(reply, indent=2).encode()  # OpenAI indents, too


_COMPLETION = _completion()
_REJECTION = json.dumps(
    {
        "error": {
            "message": "Rate limit reached",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }
).encode()


async def _serve(model: Model) -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.complete)
    app.router.add_post("/latency", model.change_latency)
    app.router.add_get("/counts", model.counts)
    async with listening(app, backlog=1024, access_log=None) as address:
        print(address, flush=True)  # noqa: T201
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.model")
    parser.add_argument("--latency", type=float, required=True)
    parser.add_argument("--limit", choices=_LIMITS, default="none")
    parser.add_argument("--silent", action="store_true", help="no headers tell what is left")
    parser.add_argument("--no-retry-after", action="store_true")
    options = parser.parse_args()
    limit = _LIMITS[options.limit]()
    model = Model(options.latency, limit, tells=not options.silent, asks=not options.no_retry_after)
    asyncio.run(_serve(model))


if __name__ == "__main__":
    main()
