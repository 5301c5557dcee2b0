"""The standard health service, with watches that end when the server stops."""

import asyncio
import math
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from rerankd_server.api.status import Context
from rerankd_server.clock import Clock

_Status = health_pb2.HealthCheckResponse
_LATELY = 60.0
"""Seconds."""
_NOT_SERVING = _Status(status=_Status.NOT_SERVING)


class Health(health_aio.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """grpc's own health service, but `close` ends every open watch.

    Theirs goes on for ever, and so holds a stopping server for the whole of its grace.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._watching: set[asyncio.Task[Any]] = set()
        self._reports: set[asyncio.Task[None]] = set()
        self._closing = False
        self._clock = clock or Clock()
        self._checked_at = -math.inf

    @property
    def is_looked_at(self) -> bool:
        """Whether somebody goes by it: watches it, or has checked it in the last minute."""
        return bool(self._watching) or self._clock.now() - self._checked_at < _LATELY

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Tell a service's health; see the health protocol."""
        self._checked_at = self._clock.now()
        return await super().Check(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send each change of a service's health; see the health protocol."""
        if not self._closing:
            watching: asyncio.Task[Any] = asyncio.create_task(super().Watch(request, context))
            self._watching.add(watching)
            try:
                await asyncio.wait({watching})
            finally:
                self._watching.discard(watching)
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        if self._closing:
            await context.write(_NOT_SERVING)

    def report(self, service: str, works: bool) -> None:
        """Say whether `service` works; does not wait until every watch has heard it."""
        status = _Status.SERVING if works else _Status.NOT_SERVING
        report = asyncio.create_task(self.set(service, status))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def close(self) -> None:
        """Say NOT_SERVING for every service, and end the watches with it."""
        self._closing = True
        watching = list(self._watching)
        for watch in watching:
            watch.cancel()
        await asyncio.gather(*watching, *self._reports, return_exceptions=True)
        await self.enter_graceful_shutdown()
