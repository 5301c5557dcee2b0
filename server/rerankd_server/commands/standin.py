"""A stand-in for a hosted model: speaks OpenAI's API on loopback, and judges by shared words.

For `rerankd demo`, which has to show the whole path with no key and no network. It answers with
log-probabilities, and takes as long as a hosted model does.
"""

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Any

from aiohttp import web

from rerankd_server.scoring.lexical import load_frequencies, query_weights, relevance
from rerankd_server.scoring.scorer import LABELS

MODEL = "stand-in"
_FASTEST, _SLOWEST = 0.3, 0.9
"""Seconds that an answer takes."""
_ENCLOSED = r"<{tag}-(\w+)>\n(.*?)\n</{tag}-\1>"
_SPREAD = 0.7
"""How unsure it is, in labels: the width of its answer's distribution."""


@asynccontextmanager
async def stand_in() -> AsyncGenerator[str]:
    """Serve on a free loopback port; gives the base URL."""
    await asyncio.to_thread(load_frequencies)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _complete)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def _complete(request: web.Request) -> web.Response:
    body = await request.json()
    prompt = "\n".join(message["content"] for message in body["messages"])
    await asyncio.sleep(_latency(prompt))
    return web.json_response(_completion(prompt))


def _latency(prompt: str) -> float:
    """Give a time that varies from prompt to prompt, and is the same for the same prompt."""
    share = hashlib.sha256(prompt.encode()).digest()[0] / 255
    return _FASTEST + (_SLOWEST - _FASTEST) * share


def _completion(prompt: str) -> dict[str, Any]:
    found = relevance(query_weights(_enclosed("query", prompt)), _enclosed("document", prompt))
    centre = LABELS[-1] * math.sqrt(found)
    weights = [math.exp(-(((label - centre) / _SPREAD) ** 2) / 2) for label in LABELS]
    likely = [
        {"token": str(label), "logprob": math.log(weight / sum(weights))}
        for label, weight in zip(LABELS, weights, strict=True)
        if weight
    ]
    likely.sort(key=itemgetter("logprob"), reverse=True)
    answer = likely[0] | {"top_logprobs": likely}
    return {
        "id": "stand-in",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": answer["token"]},
                "logprobs": {"content": [answer]},
            }
        ],
        "usage": {
            "prompt_tokens": len(prompt) // 4,
            "completion_tokens": 1,
            "total_tokens": len(prompt) // 4 + 1,
        },
    }


def _enclosed(tag: str, prompt: str) -> str:
    match = re.search(_ENCLOSED.format(tag=tag), prompt, re.DOTALL)
    return match[2] if match else ""
