"""Sends one HTTP call and reads the reply, as far as it may.

Stands between the SDK and aiohttp. What is read is bounded, packed and unpacked, and so is what one
step unpacks. Where a reply is not read to its end, its connection is closed. No redirect is
followed, and no cookie kept.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
from aiohttp.connector import Connection

from rerankd_server.scoring.call_ids import HEADERS, CallIds, WrongReplyError, is_of_another
from rerankd_server.scoring.connections import Connections
from rerankd_server.scoring.error_report import MOST_BYTES as MOST_OF_AN_ERROR
from rerankd_server.scoring.proxy import Proxy
from rerankd_server.scoring.reply_size import MOST, TooLargeError
from rerankd_server.scoring.unpacking import Unpacker

_NO_LIMIT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
"""Whoever calls bounds the whole call."""
_OURS_ALONE = frozenset({b"content-encoding", b"content-length", b"set-cookie"})
"""Headers of a reply that say nothing more once it is read."""


class Transport(httpx2.AsyncBaseTransport):
    """Trusts `certificates` and goes through `proxy`; awaits `turn` before it reads a reply."""

    def __init__(
        self,
        certificates: ssl.SSLContext,
        proxy: Proxy | None,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._certificates = certificates
        self._proxy_headers = proxy.headers if proxy else {}
        self._way: dict[str, Any] = (
            {"proxy": proxy.url, "proxy_headers": proxy.headers} if proxy else {}
        )
        self._turn = turn
        self._ids = CallIds()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and return the reply: of an error, at least the beginning.

        Raises TooLargeError where a reply has more than `MOST` bytes, UnpackError where it cannot
        be unpacked, WrongReplyError where it is to another call, and whatever aiohttp raises.
        """
        async with self._opened().request(
            request.method,
            str(request.url),
            headers=self._headers(request),
            data=request.content,
            allow_redirects=False,
            **self._way,
        ) as reply:
            await self._turn()
            content = await _content(reply)
        return httpx2.Response(
            reply.status,
            headers=[(k, v) for k, v in reply.raw_headers if k.lower() not in _OURS_ALONE],
            content=content,
            request=request,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _headers(self, request: httpx2.Request) -> dict[str, str]:
        """Return what is sent with `request`."""
        headers = {k.lower().decode(): v.decode() for k, v in request.headers.raw}
        identity = self._ids.next(request.content)
        for name in HEADERS:
            headers.setdefault(name, identity)
        if request.url.scheme == "http":  # which a proxy reads itself
            headers.update(self._proxy_headers)
        return headers

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session, which has to be made where the event loop runs."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connections(self._certificates),
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=_Reply,
                auto_decompress=False,  # it unpacks without a bound
                timeout=_NO_LIMIT,
            )
        return self._session


class _Reply(aiohttp.ClientResponse):
    """A reply that is not taken where it says that it is to another call."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read its head."""
        protocol = connection.protocol
        await super().start(connection)
        if is_of_another(self.request_info.headers, self.headers):
            if protocol is not None:
                protocol.close()  # it may be back among those for the next call by now
            raise WrongReplyError
        return self


async def _content(reply: aiohttp.ClientResponse) -> bytes:
    """Return what `reply` holds, unpacked: all of a success, and the beginning of an error."""
    is_success = 200 <= reply.status < 300
    most = MOST.get() if is_success else MOST_OF_AN_ERROR
    if is_success and (reply.content_length or 0) > most:
        raise TooLargeError(most)
    unpacker = Unpacker(reply.headers.get("Content-Encoding", ""))
    pieces: list[bytes] = []
    packed_left = left = most
    async for packed in reply.content.iter_any():
        packed_left -= len(packed)
        for piece in unpacker.unpack(packed):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                break
        if min(packed_left, left) < 0:
            if is_success:
                raise TooLargeError(most)
            break
    return b"".join(pieces)
