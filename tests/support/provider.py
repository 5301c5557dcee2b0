"""A provider on loopback: a real HTTP server that speaks OpenAI's API, and does as it is told."""

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.http import listening


@dataclass(frozen=True)
class Call:
    """One chat completion that somebody asked for."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    request: web.Request = field(repr=False)
    """For answers that are written by hand."""

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    @property
    def query(self) -> str:
        return self._enclosed("query")

    @property
    def document(self) -> str:
        return self._enclosed("document")

    @property
    def named_documents(self) -> Mapping[str, str]:
        """The documents of a batched prompt, by the names that it gives them."""
        found = re.findall(
            r"<document-([a-z]{2})-(\w+)>\n(.*?)\n</document-\1-\2>", self.prompt, re.DOTALL
        )
        return {name: text for name, _, text in found}

    def _enclosed(self, tag: str) -> str:
        match = re.search(rf"<{tag}-(\w+)>\n(.*?)\n</{tag}-\1>", self.prompt, re.DOTALL)
        assert match
        return match[2]


Answer = Callable[[Call], web.StreamResponse | Awaitable[web.StreamResponse]]
Embed = Callable[[Sequence[str]], web.Response]


@dataclass
class FakeProvider:
    """`answer` decides each reply and may be replaced at any time; `calls` are all that came.

    `embed` does so for embeddings; `embedded` are the texts of each call.
    """

    answer: Answer
    embed: Embed = field(default_factory=lambda: embeddings_by(lambda _: [1.0]))
    embedded: list[list[str]] = field(default_factory=list)
    base_url: str = ""
    calls: list[Call] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def documents(self) -> list[str]:
        return [call.document for call in self.calls]

    async def handle_embeddings(self, request: web.Request) -> web.StreamResponse:
        texts = (await request.json())["input"]
        self.embedded.append(texts)
        return self.embed(texts)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = Call(await request.json(), dict(request.headers), request)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response = self.answer(call)
            if isinstance(response, web.StreamResponse):
                return response
            return await response
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def fake_provider(answer: Answer) -> AsyncGenerator[FakeProvider]:
    fake = FakeProvider(answer)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/v1/chat/completions", fake.handle)
    app.router.add_post("/v1/embeddings", fake.handle_embeddings)
    async with listening(app, handler_cancellation=True, shutdown_timeout=0.1) as address:
        fake.base_url = f"{address}/v1"
        yield fake


def completion(
    text: str | None,
    *,
    probabilities: Mapping[str, float] | None = None,
    then: Sequence[tuple[str, Mapping[str, float]]] = (),
    finish: str = "stop",
    refusal: str | None = None,
    model: str = "fake-1",
    usage: tuple[int, int] | None = (100, 1),
) -> web.Response:
    """A completion that says `text`; `probabilities` are of its first token, `then` of the next."""
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, "refusal": refusal},
    }
    if probabilities is not None:
        first = max(probabilities, key=lambda token: probabilities[token])
        tokens = [(first, probabilities), *then]
        choice["logprobs"] = {"content": [_token(*token) for token in tokens]}
    body: dict[str, Any] = {
        "id": "fake",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
    }
    if usage is not None:
        body["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
    return web.json_response(body)


def _token(text: str, probabilities: Mapping[str, float]) -> dict[str, Any]:
    top = [
        {"token": token, "logprob": math.log(probability) if probability else -9999.0}
        for token, probability in probabilities.items()
    ]
    chosen = next(entry for entry in top if entry["token"] == text)
    return chosen | {"top_logprobs": top}


def failure(
    status: int,
    code: str | None = None,
    message: str = "no",
    *,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error as OpenAI words it."""
    error = {"message": message, "type": "error", "param": param, "code": code}
    return web.Response(
        status=status,
        text=json.dumps({"error": error}),
        content_type="application/json",
        headers=headers,
    )


def fails(status: int, code: str | None = None, message: str = "no") -> Answer:
    """Answer every call with an error."""
    return lambda _: failure(status, code, message)


def label_in(call: Call) -> web.Response:
    """Answer with the number that the document begins with."""
    return completion(call.document.split()[0])


def labels_in(call: Call) -> web.Response:
    """Answer a batched prompt with the numbers that the documents begin with."""
    labels = {name: int(text.split()[0]) for name, text in call.named_documents.items()}
    return completion(json.dumps(labels), usage=(100 * len(labels), 5 * len(labels)))


def embeddings_by(vector: Callable[[str], Sequence[float]]) -> Embed:
    """Answer with `vector` of each text, 10 tokens each."""

    def embed(texts: Sequence[str]) -> web.Response:
        data = [{"index": i, "embedding": list(vector(text))} for i, text in enumerate(texts)]
        usage = {"prompt_tokens": 10 * len(texts), "total_tokens": 10 * len(texts)}
        return web.json_response({"data": data, "model": "embed-1", "usage": usage})

    return embed


class Gate:
    """Holds answers back until it is opened; `arrived(n)` waits for the n-th caller."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open = asyncio.Event()
        self._changed = asyncio.Condition()
        self._waiting = 0

    async def __call__(self, call: Call) -> web.StreamResponse:
        async with self._changed:
            self._waiting += 1
            self._changed.notify_all()
        await self._open.wait()
        response = self._answer(call)
        return response if isinstance(response, web.StreamResponse) else await response

    async def arrived(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting >= count)

    def open(self) -> None:
        self._open.set()
