"""Cohere's rerank API: requests as bytes, calls by HTTP, and an upstream that answers them."""

import http.client
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from support.http import listening
from support.litellm import KEY

MODEL = "rerank"
_PATH = "/rerank"
_HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def request(query: str, texts: Sequence[str]) -> bytes:
    return json.dumps({"model": MODEL, "query": query, "documents": texts}).encode()


def check(reply: bytes, documents: int) -> None:
    """Raise AssertionError unless all documents are ranked."""
    results = json.loads(reply)["results"]
    assert {result["index"] for result in results} == set(range(documents))


def blocking_call(address: str) -> Callable[[bytes], bytes]:
    """Give a caller that keeps its connection."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)

    def call(body: bytes) -> bytes:
        connection.request("POST", _PATH, body, _HEADERS)
        response = connection.getresponse()
        reply = response.read()
        assert response.status == 200, reply
        return reply

    return call


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[Callable[[bytes], Awaitable[bytes]]]:
    """Give a caller for many calls at once, which keeps its connections."""
    async with aiohttp.ClientSession() as session:

        async def call(body: bytes) -> bytes:
            async with session.post(f"{address}{_PATH}", data=body, headers=_HEADERS) as response:
                assert response.ok, await response.text()
                return await response.read()

        yield call


@dataclass
class Upstream:
    """Cohere, as far as a proxy can tell; `calls` came so far."""

    address: str = ""
    calls: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.calls += 1
        count = len((await request.json())["documents"])
        results = [{"index": n, "relevance_score": 1 - n / count} for n in range(count)]
        billed = {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}}
        return web.json_response({"id": "fake", "results": results, "meta": billed})


@asynccontextmanager
async def upstream() -> AsyncGenerator[Upstream]:
    fake = Upstream()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{version}/rerank", fake.handle)
    async with listening(app) as fake.address:
        yield fake
