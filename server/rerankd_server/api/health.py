"""The standard health service, with watches that end when the server stops."""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from rerankd_server.api.status import Context


class Health(health_aio.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """grpc's own health service, but `close` ends every open watch.

    Theirs goes on for ever, and so holds a stopping server for the whole of its grace.
    """

    def __init__(self) -> None:
        super().__init__()
        self._closing = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send each change of a service's health; see the health protocol."""
        watching: asyncio.Task[Any] = asyncio.create_task(super().Watch(request, context))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            closing.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)

    async def serve(self, service: str) -> None:
        """Say that `service` is there."""
        await self.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Say NOT_SERVING for every service, and end the watches once they have said it."""
        await self.enter_graceful_shutdown()
        await asyncio.sleep(0)
        self._closing.set()
