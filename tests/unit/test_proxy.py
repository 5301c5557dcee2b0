"""The proxy that the environment names, and a real one that is sent calls."""

import asyncio
import base64
import ssl
from pathlib import Path

import pytest
import trustme

from rerankd_server.background import Background
from rerankd_server.scoring.http_client import Endpoint, HttpClient
from rerankd_server.scoring.proxy import proxy_for
from support.network import Proxy, listening
from support.raw_http import Asked, read_call, reply_of

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def url_for(base_url: str) -> str | None:
    proxy = proxy_for(base_url)
    return proxy.url if proxy else None


def test_each_scheme_has_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("https://api.example/v1") is None
    monkeypatch.setenv("HTTP_PROXY", "http://a:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://b:2")
    assert url_for("http://api.example/v1") == "http://a:1"
    assert url_for("HTTPS://api.example/v1") == "http://b:2"


def test_one_for_all_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://a:1")
    monkeypatch.setenv("ALL_PROXY", "c:3")  # without a scheme, too
    assert url_for("https://api.example/v1") == "http://c:3"
    assert url_for("http://api.example/v1") == "http://a:1"


@pytest.mark.parametrize(
    ("entries", "base_url", "is_direct"),
    [
        ("*", "http://api.example/v1", True),
        ("api.example", "http://api.example/v1", True),
        ("API.example", "http://api.example/v1", True),
        ("other.example, api.example", "http://api.example/v1", True),
        ("example", "http://api.example/v1", True),
        (".example", "http://api.example/v1", True),
        ("*.example", "http://api.example/v1", True),
        ("pi.example", "http://api.example/v1", False),
        ("api.example:8000", "http://api.example:8000/v1", True),
        ("api.example:8000", "http://api.example:9000/v1", False),
        ("http://api.example", "http://api.example/v1", True),
        ("10.1.2.3", "http://10.1.2.3/v1", True),
        ("10.1.2.0/24", "http://10.1.2.3/v1", True),
        ("10.1.0.0/24", "http://10.1.2.3/v1", False),
        ("10.1.2.3:8000", "http://10.1.2.3:8000/v1", True),
        ("fd00::/8", "http://[fd00::1]:8000/v1", True),
        ("[fd00::1]", "http://[fd00::1]:8000/v1", True),
        ("fe00::/8", "http://[fd00::1]:8000/v1", False),
        ("", "http://api.example/v1", False),
        (" , ", "http://api.example/v1", False),
    ],
)
def test_hosts_are_asked_directly(
    monkeypatch: pytest.MonkeyPatch, entries: str, base_url: str, is_direct: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    monkeypatch.setenv("NO_PROXY", entries)
    assert (proxy_for(base_url) is None) is is_direct


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_asked_directly(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    assert proxy_for(f"http://{host}:8000/v1") is None


async def test_a_proxy_is_sent_the_password_and_not_the_name_in_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Asked] = []

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await read_call(reader):
            seen.append(asked)
            writer.write(reply_of({"said": "hello"}))

    async with listening(between) as address:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:a%40b@{address}")
        asking = HttpClient(Endpoint("http://provider.invalid/v1", "sk-test"), Background())
        try:
            assert (await asking.post("/chat/completions", {})).content == b'{"said": "hello"}'
        finally:
            await asking.close()
    (asked,) = seen
    assert asked.head.startswith("POST http://provider.invalid/v1/chat/completions HTTP/1.1")
    login = base64.b64encode(b"me:a@b").decode()
    assert asked.header("Proxy-Authorization") == f"Basic {login}"
    assert asked.header("Authorization") == "Bearer sk-test"
    assert "me:a" not in asked.head


async def test_what_is_for_the_proxy_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("provider.invalid").configure_cert(context)
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_call(reader)
        assert asked
        heads.append(asked.head)
        writer.write(reply_of({"said": "hello"}))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    at = "{}:{}".format(*server.sockets[0].getsockname())

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await Proxy(at).join(reader, writer)

    async with server, listening(tunnel) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{address}")
        endpoint = Endpoint(
            "https://provider.invalid/v1", "sk-test", ca_file=tmp_path / "ca.pem", timeout=5.0
        )
        asking = HttpClient(endpoint, Background())
        try:
            assert (await asking.post("/chat/completions", {})).content == b'{"said": "hello"}'
        finally:
            await asking.close()
    to_proxy, through_it = heads
    assert to_proxy.startswith("CONNECT provider.invalid:443 ")
    assert "proxy-authorization" in to_proxy.lower()
    assert "sk-test" not in to_proxy
    assert "proxy-authorization" not in through_it.lower()
    assert "Bearer sk-test" in through_it


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:sentinel@a:1")
    proxy = proxy_for("http://api.example/v1")
    assert proxy is not None
    assert proxy.url == "http://a:1"
    assert "sentinel" not in repr(proxy)
