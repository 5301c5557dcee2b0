"""A network that things go wrong in: listeners, and a proxy that breaks off or falls silent."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncGenerator[str]:
    """Serve `handler` on a free port; what is still open at the end is cut off."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # which asyncio would log
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """Passes bytes on to `to`, from `address`."""

    def __init__(self, to: str) -> None:
        self.address = ""
        self._host, _, self._port = to.rpartition(":")
        self._writers: list[asyncio.StreamWriter] = []
        self._passes = asyncio.Event()
        self._passes.set()

    def cut(self) -> None:
        """Break all connections."""
        while self._writers:
            self._writers.pop().transport.abort()

    def fall_silent(self) -> None:
        """Pass nothing on any more, and keep the connections: as a machine that lost its power."""
        self._passes.clear()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._writers.extend((writer, back))
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._passes.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy(to: str) -> AsyncGenerator[Proxy]:
    between = Proxy(to)
    async with listening(between.join) as between.address:
        yield between
