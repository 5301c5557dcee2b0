"""What keeps a call from being answered, told apart in our own words, by real servers."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from rerankd_server.background import Background
from rerankd_server.config import load_settings
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.http_client import Endpoint, HttpClient, TransportError
from support.http import listening as http_listening
from support.network import listening

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@asynccontextmanager
async def client(base_url: str, **endpoint: object) -> AsyncGenerator[HttpClient]:
    settings = {"base_url": base_url, "api_key": "sk-sentinel", "timeout": 5.0} | endpoint
    made = HttpClient(Endpoint(**settings), Background())  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


async def trouble(base_url: str, **endpoint: object) -> str:
    """What is said of a call that gets no reply; nothing secret, and no defect of ours."""
    async with client(base_url, **endpoint) as asked:
        with capture_logs() as logs, pytest.raises(TransportError) as raised:
            await asked.post("/chat/completions", {"model": "m"})
    assert logs == []
    assert "sentinel" not in str(raised.value)
    return str(raised.value)


def bytes_of(data: bytes) -> object:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x12\x04" + b"\0" * 23,  # an HTTP/2 server
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",  # a TLS server's alert
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"\0" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"a" * 100_000,
        b"",
    ],
)
async def test_whatever_answers_is_the_providers_failure(data: bytes) -> None:
    async with listening(bytes_of(data)) as address:  # type: ignore[arg-type]
        assert address in await trouble(f"http://{address}/v1")


async def test_what_speaks_no_http_is_told() -> None:
    async with listening(bytes_of(b"\x00\x00\x12\x04" + b"\0" * 23)) as address:  # type: ignore[arg-type]
        said = await trouble(f"http://{address}/v1")
    assert said.endswith(f"http://{address}/v1 is no HTTP/1.1 server; is it https:// there?")


async def test_a_port_where_nobody_listens_is_told() -> None:
    said = await trouble("http://127.0.0.1:9/v1?key=sk-sentinel")
    assert said == "cannot be reached at http://127.0.0.1:9/v1: nothing listens there"


async def test_a_name_that_is_none_is_told() -> None:
    said = await trouble("http://no-such-host.invalid/v1")
    assert said == "cannot be reached at http://no-such-host.invalid/v1: there is no such name"


async def test_a_server_that_takes_too_long_is_told() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(hang) as address:
        said = await trouble(f"http://{address}/v1", timeout=0.1)
    assert said == f"gives no answer: http://{address}/v1 takes more than 0.1 s"


class Authority:
    """Signs the certificate of servers here, and writes its own to `file`."""

    def __init__(self, folder: Path) -> None:
        self._made = trustme.CA()
        self.file = folder / "ca.pem"
        self._made.cert_pem.write_to_path(str(self.file))

    @asynccontextmanager
    async def serving(self, name: str = "127.0.0.1") -> AsyncGenerator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._made.issue_cert(name).configure_cert(context)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", _hello)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def _hello(request: web.Request) -> web.Response:
    assert request.transport
    peer = request.transport.get_extra_info("peername")
    return web.json_response({"said": "hello"}, headers={"x-peer": str(peer[1])})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_certificate_that_is_not_trusted_is_told(authority: Authority) -> None:
    async with authority.serving() as address:
        said = await trouble(f"https://{address}/v1")
    assert said.startswith(f"cannot be reached at https://{address}/v1: its certificate is not tru")
    assert "name the certificate of its issuer in `ca_file`, or in SSL_CERT_FILE" in said


async def test_a_certificate_of_another_host_is_told(authority: Authority) -> None:
    async with authority.serving("10.0.0.1") as address:
        said = await trouble(f"https://{address}/v1", ca_file=authority.file)
    assert "write `base_url` with a name that the certificate is for" in said


@pytest.mark.parametrize("by", ["ca_file", "SSL_CERT_FILE"])
async def test_a_certificate_that_is_trusted_is_taken(
    authority: Authority, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"ca_file": authority.file} if by == "ca_file" else {}
    if by == "SSL_CERT_FILE":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with authority.serving() as address, client(f"https://{address}/v1", **given) as asked:
        reply = await asked.post("/chat/completions", {})
    assert (reply.status, reply.content) == (200, b'{"said": "hello"}')


async def test_a_connection_with_tls_is_used_again(authority: Authority) -> None:
    async with (
        authority.serving() as address,
        client(f"https://{address}/v1", ca_file=authority.file) as asked,
    ):
        peers = {(await asked.post("/chat/completions", {})).headers["x-peer"] for _ in range(5)}
    assert len(peers) == 1


@pytest.mark.parametrize("setting", ["ca_file", "SSL_CERT_FILE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_keep_the_server_from_starting(
    tmp_path: Path, setting: str, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    flags = {"ca_file": str(file)} if setting == "ca_file" else {}
    environ = {setting: str(file)} if setting != "ca_file" else {}
    with pytest.raises(ConfigError, match=f"{setting}.*holds no certificates in PEM"):
        load_settings(flags, environ)


async def test_the_wrong_scheme_is_told(authority: Authority) -> None:
    async with authority.serving() as address:
        assert "is it https:// there?" in await trouble(f"http://{address}/v1")
    app = web.Application()
    async with http_listening(app) as address:
        said = await trouble(f"{address.replace('http', 'https')}/v1")
    assert said.endswith("it does not speak TLS as it should; is it http:// there?")


async def test_a_proxy_is_used_and_its_trouble_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    said = await trouble("http://provider.invalid/v1")
    assert said == (
        "cannot be reached at http://provider.invalid/v1: the proxy does not answer; check "
        "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    )
    refusal = bytes_of(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    async with listening(refusal) as address:  # type: ignore[arg-type]
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        said = await trouble("https://provider.invalid/v1")
        assert said.endswith("the proxy answers 407")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_what_is_on_this_machine_is_not_looked_for_behind_a_proxy(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _hello)
    async with http_listening(app) as address:
        base_url = f"{address.replace('127.0.0.1', host)}/v1"
        async with client(base_url) as asked:
            assert (await asked.post("/chat/completions", {})).status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({})

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", elsewhere)
    async with http_listening(other) as target:

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{target}/v1/stolen"})

        app = web.Application()
        app.router.add_post("/v1/chat/completions", redirect)
        async with http_listening(app) as address, client(f"{address}/v1") as asked:
            assert (await asked.post("/chat/completions", {})).status == status
    assert seen == []


@pytest.mark.parametrize("header", ["", "api-key"])
async def test_the_key_is_sent_as_the_provider_wants_it(header: str) -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/d/m/chat/completions", answer)
    async with http_listening(app) as address:
        base_url = f"{address}/d/m?api-version=2024-10-21"
        async with client(base_url, key_header=header) as asked:
            await asked.post("/chat/completions", {})
    (request,) = seen
    assert request.query_string == "api-version=2024-10-21"
    if header:
        assert request.headers["api-key"] == "sk-sentinel"
        assert "Authorization" not in request.headers
    else:
        assert request.headers["Authorization"] == "Bearer sk-sentinel"


async def test_a_defect_is_logged_and_fails_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("a private text")

    async with client("http://127.0.0.1:9/v1") as asked:
        monkeypatch.setattr(await asked.load(), "post", broken)
        with capture_logs() as logs, pytest.raises(TransportError):
            await asked.post("/chat/completions", {})
    (line,) = logs
    assert (line["event"], line["error"]) == ("defect", "AssertionError")
    assert "private" not in str(logs)
