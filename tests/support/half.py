"""A client that sends the beginning of a message, and no more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events


class HalfSent:
    """A call whose message ends nowhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._connection = h2.connection.H2Connection(config)
        self.trailers: dict[str, str] = {}

    async def send(self, path: str, size: int, sent: int) -> None:
        """Announce a message of `size` bytes, and send `sent` of them, as far as they are taken."""
        self._connection.initiate_connection()
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self._connection.send_headers(1, list(headers.items()))
        left = b"\0" + size.to_bytes(4, "big") + b"x" * sent
        while left and not self.trailers:
            room = self._connection.local_flow_control_window(1)
            count = min(len(left), room, self._connection.max_outbound_frame_size)
            if count <= 0:
                await self._hear()
                continue
            self._connection.send_data(1, left[:count])
            left = left[count:]
            await self._flush()

    async def answer(self) -> dict[str, str]:
        """Wait for the status; gives its headers."""
        await self._flush()
        while not self.trailers:
            await self._hear()
        return self.trailers

    async def _hear(self) -> None:
        await self._flush()
        data = await self._reader.read(65536)
        assert data, "the server closed the connection"
        for event in self._connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                headers = {str(name): str(value) for name, value in event.headers or ()}
                self.trailers = headers if "grpc-status" in headers else {}
        await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


@asynccontextmanager
async def half_sent(address: str) -> AsyncGenerator[HalfSent]:
    """Connect to the server at `address`."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield HalfSent(reader, writer)
    finally:
        writer.close()
