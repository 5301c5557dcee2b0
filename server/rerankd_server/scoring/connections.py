"""Connections to a provider: used again, unless something came that nobody asked for.

Such a thing is a second reply, or a reply to a call that was given up: to the next call it would
look like its answer. What comes after that call was sent cannot be told by the connection.
"""

import functools
import select
import ssl
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

_IDLE = 5.0
"""Seconds for which a connection is kept that nobody uses."""
_MOST_HEADS = 256
"""Heads of replies that wait to be read: one call has one, and a few that announce it."""


class _Protocol(ResponseHandler):
    """One connection, which is not used again where more came than the reply.

    It is closed where heads come without an end.
    """

    was_used = False

    def set_response_params(self, **named: Any) -> None:
        """Begin to wait for a reply."""
        self._payload = None
        super().set_response_params(**named)

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        if data and self._payload is not None and self._payload.is_eof():
            self.force_close()
        super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take in the head of a reply."""
        super().feed_data(data, size)
        if len(self) > _MOST_HEADS:
            self.close()


class Connections(aiohttp.TCPConnector):
    """As many as are needed: calls in flight are bounded by who sends them."""

    def __init__(self, certificates: ssl.SSLContext) -> None:
        super().__init__(ssl=certificates, limit=0, keepalive_timeout=_IDLE)
        self._factory = functools.partial(_Protocol, loop=self._loop)  # type: ignore[assignment]

    async def connect(self, *arguments: Any, **named: Any) -> Connection:
        """Return one that is new, or has been silent since it was used."""
        while True:
            connection = await super().connect(*arguments, **named)
            protocol = connection.protocol
            assert isinstance(protocol, _Protocol)
            if not protocol.was_used:
                protocol.was_used = True
                return connection
            if not (protocol.should_close or _has_unread(protocol)):
                return connection
            connection.close()


def _has_unread(protocol: ResponseHandler) -> bool:
    """Return whether something came that the event loop has not read yet, perhaps the end."""
    made = protocol.transport and protocol.transport.get_extra_info("socket")
    if not made:
        return True
    if not hasattr(select, "poll"):  # on Windows, where `select` takes any number of a socket
        return bool(select.select([made.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(made.fileno(), select.POLLIN)
    return bool(poll.poll(0))
