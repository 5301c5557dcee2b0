"""What a provider may send and what becomes of its connections, by servers that break the rules."""

import asyncio
import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rerankd_server.background import Background
from rerankd_server.scoring.http_client import Endpoint, HttpClient, Response, TransportError
from rerankd_server.scoring.reply_size import TooLargeError
from support.network import listening
from support.raw_http import Asked, Endless, head_of, read_call, reply_of

MIB = 1 << 20
ON_THE_WAY = 16 * MIB
"""More than the network holds between two sides on loopback."""
CHUNKED = head_of({"Transfer-Encoding": "chunked"})


@asynccontextmanager
async def client(address: str, **endpoint: Any) -> AsyncGenerator[HttpClient]:
    named = {"base_url": f"http://{address}/v1", "api_key": "sk-test", "timeout": 20.0} | endpoint
    made = HttpClient(Endpoint(**named), Background())  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


async def post(asking: HttpClient, text: str = "a") -> Response:
    return await asking.post("/chat/completions", {"model": "m", "text": text, "max_tokens": 8})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def bomb(wbits: int) -> bytes:
    """A GiB of zeros, packed to about one MiB."""
    packer = zlib.compressobj(9, wbits=wbits)
    begin = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + again * 1023


# How much is read


async def test_a_reply_that_says_it_is_too_large_is_not_read() -> None:
    server = Endless(head_of({"Content-Length": str(1 << 40)}), b"", 0)
    async with listening(server) as address, client(address, max_reply_bytes=MIB) as asking:
        with pytest.raises(TooLargeError, match="more than 1,048,576 bytes; raise `max_reply_byt"):
            await post(asking)
        await server.cut.wait()


@pytest.mark.parametrize("begin", [CHUNKED, head_of({"Connection": "close"})])
async def test_a_reply_without_an_end_is_broken_off(begin: bytes) -> None:
    part = chunk(b" " * 60_000) if begin is CHUNKED else b" " * 60_000
    server = Endless(begin, part)
    async with listening(server) as address, client(address, max_reply_bytes=MIB) as asking:
        with pytest.raises(TooLargeError):
            await post(asking)
        await server.cut.wait()
    assert server.sent < MIB + ON_THE_WAY


@pytest.mark.parametrize(
    ("encoding", "wbits"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15)]
)
@pytest.mark.parametrize("status", [200, 400, 503])
async def test_a_bomb_takes_no_more_memory_than_a_reply_may(
    encoding: str, wbits: int, status: int
) -> None:
    packed = bomb(wbits)
    head = head_of({"Content-Encoding": encoding, "Content-Length": str(len(packed))}, status)
    server = Endless(head, packed, 1)
    async with listening(server) as address, client(address, max_reply_bytes=2 * MIB) as asking:
        await asking.load()
        tracemalloc.start()
        try:
            if status == 200:
                with pytest.raises(TooLargeError):
                    await post(asking)
            else:
                assert (await post(asking)).status == status
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The server's own copies included.
    assert most < 2 * MIB + 3 * len(packed) + 4 * MIB


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (gzip.compress(b"{}"), bytes(60_000)),  # behind the end of what is packed
        (gzip.compress(b"")[:10], b"\0\0\0\xff\xff" * 12_000),  # empty blocks
    ],
    ids=["behind the end", "empty blocks"],
)
async def test_what_unpacks_to_nothing_is_counted_too(begin: bytes, part: bytes) -> None:
    head = head_of({"Transfer-Encoding": "chunked", "Content-Encoding": "gzip"})
    server = Endless(head + chunk(begin), chunk(part))
    async with listening(server) as address, client(address, max_reply_bytes=MIB) as asking:
        with pytest.raises(TooLargeError):
            await post(asking)
        await server.cut.wait()
    assert server.sent < MIB + ON_THE_WAY


@pytest.mark.parametrize("status", [300, 307, 404, 429, 500])
async def test_of_an_error_the_beginning_is_read(status: int) -> None:
    begin = head_of({"Transfer-Encoding": "chunked"}, status) + chunk(b'{"error": "busy"} ')
    server = Endless(begin, chunk(b" " * 60_000))
    async with listening(server) as address, client(address) as asking:
        reply = await post(asking)
        await server.cut.wait()
    assert reply.status == status
    assert reply.content.startswith(b'{"error": "busy"} ')
    assert len(reply.content) < MIB
    assert server.sent < MIB + ON_THE_WAY


@pytest.mark.parametrize("size", [1 << 16, MIB])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
async def test_the_limit_is_exact(size: int, more: int, packed: bool) -> None:
    content = b"1" * (size + more)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_call(reader):
            body = gzip.compress(content) if packed else content
            encoding = {"Content-Encoding": "gzip"} if packed else {}
            writer.write(head_of({"Content-Length": str(len(body)), **encoding}) + body)
            await writer.drain()

    async with listening(answer) as address, client(address, max_reply_bytes=size) as asking:
        if more:
            with pytest.raises(TooLargeError):
                await post(asking)
        else:
            assert (await post(asking)).content == content


HEADS_WITHOUT_AN_END = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"b" * 4000 + b"\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nx-a: ", b"b" * 60_000),
    "small headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 1000),
    "the first line": (b"HTTP/1.1 200 ", b"O" * 60_000),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 1000),
    "replies before the reply": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
}


@pytest.mark.parametrize("kind", HEADS_WITHOUT_AN_END)
async def test_a_head_without_an_end_is_broken_off(kind: str) -> None:
    server = Endless(*HEADS_WITHOUT_AN_END[kind])
    async with listening(server) as address, client(address) as asking:
        with pytest.raises(TransportError):
            await post(asking)
        await server.cut.wait()
    assert server.sent < ON_THE_WAY


async def test_a_reply_that_is_packed_as_nobody_asked_is_a_failure() -> None:
    seen: list[Asked] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await read_call(reader):
            seen.append(asked)
            writer.write(reply_of({}, {"Content-Encoding": "br"}))

    async with listening(answer) as address, client(address) as asking:
        with pytest.raises(TransportError, match="cannot be decompressed, from http://127"):
            await post(asking)
    assert seen[0].header("Accept-Encoding") == "gzip, deflate"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_cookie_is_kept(host: str) -> None:
    seen: list[Asked] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await read_call(reader):
            seen.append(asked)
            writer.write(reply_of({}, {"Set-Cookie": "a=sentinel; Path=/"}))

    async with listening(answer) as address, client(address.replace("127.0.0.1", host)) as asking:
        await post(asking)
        await post(asking)
    assert len(seen) == 2
    assert "cookie" not in seen[1].head.lower()


# What becomes of a connection


class Echo:
    """Answers each call with its text and the connection's number; `after` may write more."""

    def __init__(self) -> None:
        self.connections = 0
        self.calls: list[Asked] = []
        self.after: Callable[[asyncio.StreamWriter, bytes], None] = lambda *_: None
        self.headers: Callable[[Asked], dict[str, str]] = lambda _: {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        while asked := await read_call(reader):
            self.calls.append(asked)
            said = {"text": asked.body["text"], "connection": connection}
            reply = reply_of(said, self.headers(asked))
            writer.write(reply)
            self.after(writer, reply)
            await writer.drain()


def said(reply: Response) -> tuple[str, int]:
    value = json.loads(reply.content)
    return value["text"], value["connection"]


async def settle() -> None:
    """Let all else run, also what loopback has brought by now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_connection_is_used_again() -> None:
    server = Echo()
    async with listening(server) as address, client(address) as asking:
        assert [said(await post(asking, text)) for text in "abc"] == [("a", 1), ("b", 1), ("c", 1)]


async def test_a_second_reply_at_once_is_nobodys() -> None:
    server = Echo()
    server.after = lambda writer, reply: writer.write(reply)
    async with listening(server) as address, client(address) as asking:
        assert [said(await post(asking, text)) for text in "abc"] == [("a", 1), ("b", 2), ("c", 3)]


@pytest.mark.parametrize("part", [1.0, 0.6, 0.1])
async def test_a_second_reply_that_comes_later_is_nobodys(part: float) -> None:
    """Whole or in part, before the next call is sent."""
    held: list[Callable[[], None]] = []
    server = Echo()
    server.after = lambda writer, reply: held.append(
        lambda: writer.write(reply[: int(len(reply) * part)])
    )
    async with listening(server) as address, client(address) as asking:
        assert said(await post(asking, "a"))[0] == "a"
        held.pop()()
        await settle()
        assert said(await post(asking, "b")) == ("b", 2)


async def test_a_second_reply_that_comes_in_halves_is_nobodys() -> None:
    """One half with the first reply, where it cannot be seen, the other with the next."""
    first = reply_of({"text": "a", "connection": 0})
    connections: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while asked := await read_call(reader):
            if asked.body["text"] == "a":
                writer.write(first + first[:20])
            elif len(connections) == 1:
                writer.write(first[20:])
            else:
                writer.write(reply_of({"text": "b", "connection": 2}))

    async with listening(answer) as address, client(address) as asking:
        assert said(await post(asking, "a")) == ("a", 0)
        with pytest.raises(TransportError):
            await post(asking, "b")
        assert said(await post(asking, "b")) == ("b", 2)


async def test_what_came_and_was_not_read_yet_is_nobodys() -> None:
    """A second reply that the event loop has had no time to look at."""
    listener = socket.create_server(("127.0.0.1", 0))
    first_is_read, second_is_sent = threading.Event(), threading.Event()

    def serve() -> None:
        made, _ = listener.accept()
        with made:
            made.recv(1 << 16)
            made.sendall(reply_of({"text": "a"}))
            first_is_read.wait(30)
            made.sendall(reply_of({"text": "a"}))
            second_is_sent.set()
            other, _ = listener.accept()  # though the first is open still
        with other:
            other.recv(1 << 16)
            other.sendall(reply_of({"text": "b"}))

    threading.Thread(target=serve, daemon=True).start()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    async with client(address) as asking:
        assert json.loads((await post(asking, "a")).content) == {"text": "a"}
        first_is_read.set()
        second_is_sent.wait(30)  # and meanwhile the loop stands still
        assert json.loads((await post(asking, "b")).content) == {"text": "b"}
    listener.close()


async def test_a_connection_that_the_server_closed_fails_no_call() -> None:
    server = Echo()
    server.after = lambda writer, _: writer.close()
    async with listening(server) as address, client(address) as asking:
        assert [said(await post(asking, text)) for text in "abc"] == [("a", 1), ("b", 2), ("c", 3)]


async def test_a_reply_that_was_not_read_to_its_end_costs_its_connection() -> None:
    connections: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while asked := await read_call(reader):
            size = 3 * MIB if asked.body["text"] == "large" else 2
            writer.write(head_of({"Content-Length": str(size)}, 500) + b" " * size)

    async with listening(answer) as address, client(address) as asking:
        await post(asking, "small")
        await post(asking, "small")
        assert len(connections) == 1
        await post(asking, "large")
        await post(asking, "small")
        assert len(connections) == 2


# Which call a reply is to


async def test_each_call_bears_an_id_of_its_own() -> None:
    server = Echo()
    async with listening(server) as address, client(address) as asking:
        for text in ("a", "b", "b"):
            await post(asking, text)
    ids = [asked.header("x-request-id") for asked in server.calls]
    assert ids == [asked.header("x-client-request-id") for asked in server.calls]
    assert len({*ids}) == 3
    assert all(len(each) > 32 for each in ids)


@pytest.mark.parametrize("header", ["x-request-id", "X-Client-Request-Id"])
async def test_a_reply_that_says_which_call_it_answers_is_taken(header: str) -> None:
    server = Echo()
    server.headers = lambda asked: {header: asked.header("x-request-id")}
    async with listening(server) as address, client(address) as asking:
        assert [said(await post(asking, text)) for text in "ab"] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("header", ["x-request-id", "X-Client-Request-Id"])
async def test_a_reply_that_says_it_answers_another_call_is_not(header: str) -> None:
    server = Echo()
    server.headers = lambda _: {header: server.calls[0].header("x-request-id")}
    async with listening(server) as address, client(address) as asking:
        assert said(await post(asking, "a")) == ("a", 1)
        with pytest.raises(TransportError, match="answers another call than the one that was sent"):
            await post(asking, "b")
        server.headers = lambda _: {}
        assert said(await post(asking, "b")) == ("b", 2)


async def test_a_gateway_may_answer_the_same_out_of_its_cache() -> None:
    server = Echo()
    server.headers = lambda _: {"x-request-id": server.calls[0].header("x-request-id")}
    async with listening(server) as address, client(address) as asking:
        assert [said(await post(asking, "a")) for _ in range(2)] == [("a", 1), ("a", 1)]


@pytest.mark.parametrize(
    "value",
    ["req_011CSHoEeqs5C35K2UUqR7Fy", "0c3f2f8e-2b86-4b5e-9d9a-7a1b2c3d4e5f", "", "-", "1" * 5000],
)
async def test_ids_of_a_servers_own_say_nothing(value: str) -> None:
    server = Echo()
    server.headers = lambda _: {"x-request-id": value}
    async with listening(server) as address, client(address) as asking:
        assert [said(await post(asking, text)) for text in "ab"] == [("a", 1), ("b", 1)]


async def test_ids_of_other_clients_say_nothing() -> None:
    server = Echo()
    async with listening(server) as address, client(address) as asking, client(address) as other:
        await post(other, "a")
        server.headers = lambda _: {"x-request-id": server.calls[0].header("x-request-id")}
        assert said(await post(asking, "b"))[0] == "b"


async def test_an_id_that_the_settings_send_stays() -> None:
    server = Echo()
    server.headers = lambda asked: {"x-request-id": asked.header("x-request-id")}
    headers = {"X-Request-Id": "of-the-settings"}
    async with listening(server) as address, client(address, headers=headers) as asking:
        assert [said(await post(asking, text)) for text in "ab"] == [("a", 1), ("b", 1)]
    assert {asked.header("x-request-id") for asked in server.calls} == {"of-the-settings"}
