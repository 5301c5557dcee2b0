"""A provider whose replies lead elsewhere, have no end, or are to another call."""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import grpc
from rerankd.v1 import rerank_pb2 as pb
from support.network import listening
from support.provider import Call, FakeProvider, completion, label_in
from support.raw_http import Asked, Endless, head_of, read_call, reply_of
from support.server import Stub, ask, running, stub_of

KEY = "sk-sentinel-0123456789"
QUERY = "a private question"
DOCUMENT = "7 hyacinths in a private garden"
SECRETS = {"X-Key": "sentinel-of-a-header"}


@asynccontextmanager
async def server(folder: Path, base_url: str, **settings: Any) -> AsyncGenerator[Stub]:
    named = {"base_url": base_url, "api_key": KEY, "headers": SECRETS, "attempts": 3} | settings
    async with running(folder, **named) as app, stub_of(app.address) as stub:
        yield stub


async def failure(stub: Stub, documents: list[str]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RerankOnce(ask(QUERY, documents))
    return raised.value


def completion_of(label: str) -> Any:
    """A reply as OpenAI writes it."""
    body = completion(label).body
    assert isinstance(body, bytes)
    return json.loads(body)


def label_of(asked: Asked) -> str:
    """The number that the document begins with."""
    return Call(asked.body, {}, None).document.split()[0]  # type: ignore[arg-type]


class Elsewhere:
    """Another host, which would answer every call; `came` is all that it was sent."""

    def __init__(self) -> None:
        self.came = b""
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(1 << 16):
            self.came += data
            writer.write(reply_of(completion_of("9")))


@asynccontextmanager
async def another_host(host: str) -> AsyncGenerator[tuple[Elsewhere, str]]:
    elsewhere = Elsewhere()
    listener = await asyncio.start_server(elsewhere, host, 0)
    async with listener:
        yield elsewhere, f"{host}:{listener.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https", "", "HTTP"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_nothing_leaves_for_another_host(
    tmp_path: Path, provider: FakeProvider, status: int, scheme: str, host: str
) -> None:
    async with another_host(host) as (elsewhere, address):
        to = f"{scheme}:" if scheme else ""
        location = f"{to}//user:{KEY}@{address}/v1/chat/completions?document=hyacinths"

        def redirect(_: Call) -> web.Response:
            good = completion("8").body  # says a score that is none
            return web.Response(status=status, headers={"Location": location}, body=good)

        provider.answer = redirect
        async with server(tmp_path, provider.base_url, concurrency=1) as stub:
            error = await failure(stub, [DOCUMENT, "8 other", "9 other"])
            assert len(provider.calls) == 1  # not again, and none of the others
            provider.answer = label_in
            right = await stub.RerankOnce(ask(QUERY, [DOCUMENT]))
    assert (elsewhere.connections, elsewhere.came) == (0, b"")
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == (
        f"the model's provider answers {status}: it redirects to {host}, and nothing is sent "
        "there; set `base_url` to where the API is"
    )
    assert right.usage.scored_pairs == 1
    assert right.results[0].relevance_score == 0.7


@pytest.mark.parametrize(
    "location",
    [
        "http://hyacinths.example/",
        "http://hyacinths-in-a-private-garden/",
        f"http://{KEY}/",
        f"http://{SECRETS['X-Key']}.example/",
        "http://a\tprivate\tgarden/",
        "http://a private garden/",
        "/private/hyacinths",
        "file:///private/hyacinths",
        "http://[fe80::1%hyacinths]/",
    ],
)
async def test_a_redirect_can_say_nothing_of_a_call(
    tmp_path: Path, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_call(reader):
            writer.write(reply_of({}, {"Location": location}, 307))

    async with listening(redirect) as address, server(tmp_path, f"http://{address}/v1") as stub:
        error = await failure(stub, [DOCUMENT])
    assert error.details() == (
        "the model's provider answers 307: it redirects, and nothing is sent there; set `base_url` "
        "to where the API is"
    )
    assert "hyacinths" not in caplog.text


@pytest.mark.parametrize("status", [300, 301, 304, 307])
async def test_a_redirect_to_nowhere_is_no_answer(
    tmp_path: Path, provider: FakeProvider, status: int
) -> None:
    provider.answer = lambda _: web.Response(status=status)
    async with server(tmp_path, provider.base_url, concurrency=1) as stub:
        error = await failure(stub, [DOCUMENT, "8 other"])
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert str(error.details()).startswith(
        f"the model's provider answers {status}, which answers no call; set `base_url` to where"
    )
    assert len(provider.calls) == 1


CHUNKED = {"Transfer-Encoding": "chunked"}
WITHOUT_END = {
    "plain": (head_of(CHUNKED), b"ea60\r\n" + b" " * 60_000 + b"\r\n"),
    "packed": (
        head_of({"Content-Encoding": "gzip", "Content-Length": str(1 << 30)}),
        gzip.compress(bytes(16 << 20)),
    ),
}


@pytest.mark.parametrize("kind", WITHOUT_END)
async def test_replies_without_an_end_are_refused_and_not_paid_for_again(
    tmp_path: Path, kind: str
) -> None:
    endless = Endless(*WITHOUT_END[kind])
    documents = [f"{n} flowers" for n in range(8)]
    async with listening(endless) as address, server(tmp_path, f"http://{address}/v1") as stub:
        error = await failure(stub, documents)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert str(error.details()).startswith("the model's provider sends replies of more than 1,")
    assert str(error.details()).endswith("bytes; raise `max_reply_bytes` if they are real")
    # Each document once, each on a connection that was cut off early.
    assert endless.connections <= len(documents)
    assert endless.sent < len(documents) * (16 << 20)


async def test_a_large_reply_is_taken_where_the_settings_say_so(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answer = lambda call: completion(call.document.split()[0] + " " * (3 << 20))
    async with server(tmp_path / "a", provider.base_url) as stub:
        assert "max_reply_bytes" in str((await failure(stub, [DOCUMENT])).details())
        assert len(provider.calls) == 1
    async with server(tmp_path / "b", provider.base_url, max_reply_bytes="4MiB") as stub:
        response = await stub.RerankOnce(ask(QUERY, [DOCUMENT]))
    assert response.results[0].relevance_score == 0.7


DOCUMENTS = [f"{n % 11} document {n}" for n in range(30)]


def scores(response: pb.RerankResponse) -> list[float]:
    """By the documents' places."""
    by_place = {result.index: result.relevance_score for result in response.results}
    return [round(by_place[place], 3) for place in range(len(by_place))]


@pytest.mark.parametrize("together", [True, False])
async def test_replies_that_come_twice_are_the_score_of_no_other_document(
    tmp_path: Path, together: bool
) -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await read_call(reader):
            reply = reply_of(completion_of(label_of(asked)))
            writer.write(reply)
            if not together:
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(reply)

    async with (
        listening(twice) as address,
        server(tmp_path, f"http://{address}/v1", concurrency=2, attempts=10) as stub,
    ):
        for text in DOCUMENTS[:5]:  # one after the other, on a connection that is kept
            response = await stub.RerankOnce(ask("alone", [text]))
            assert scores(response) == [int(text.split()[0]) / 10]
        response = await stub.RerankOnce(ask(QUERY, DOCUMENTS))
    assert scores(response) == [int(text.split()[0]) / 10 for text in DOCUMENTS]


async def test_a_late_reply_that_says_its_call_is_the_score_of_no_other_document(
    tmp_path: Path,
) -> None:
    """It comes once the next call was sent, when no connection can tell."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        last = b""
        while asked := await read_call(reader):
            echo = {"X-Request-Id": asked.header("X-Request-Id")}
            writer.write(last)
            last = reply_of(completion_of(label_of(asked)), echo)
            writer.write(last)

    documents = ["1 a", "9 b", "2 c"]
    async with (
        listening(late) as address,
        server(tmp_path, f"http://{address}/v1", concurrency=1) as stub,
    ):
        found = [scores(await stub.RerankOnce(ask(QUERY, [text])))[0] for text in documents]
    assert found == [0.1, 0.9, 0.2]
