"""The application: builds the parts, and starts and stops them in order. The only place that wires.

Start: store, scorers, reranker, server, health. Stop: health says NOT_SERVING, no new calls, the
running ones finish within the grace, what is bought is stored, store and provider close.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc
from rerankd_server import __version__
from rerankd_server.api.familiar import Familiar
from rerankd_server.api.health import Health
from rerankd_server.api.reflection import serve_reflection
from rerankd_server.api.replies import Replies
from rerankd_server.api.service import SERVICE, RerankService
from rerankd_server.api.validation import Limits
from rerankd_server.background import Background
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.store import Store
from rerankd_server.config import LEXICAL, Settings
from rerankd_server.errors import ConfigError
from rerankd_server.logs import LogLine, log_defect
from rerankd_server.menu import Menu
from rerankd_server.port import cannot_listen
from rerankd_server.providers import endpoint_of
from rerankd_server.reranker import Reranker
from rerankd_server.scoring.base_url import is_loopback
from rerankd_server.scoring.learning import Spent

_LAST_WORDS = 1.0
"""Seconds that calls get to end in order when their grace is over."""

_LEAST_PING_MS = 5_000
"""Half of the least that grpc-go's clients send at."""


class App:
    """One server: `await start()`, then `address` says where it listens, then `await stop()`.

    Where it `shares_port`, others that do may listen there, too.
    """

    def __init__(self, settings: Settings, *, shares_port: bool = False) -> None:
        self.settings = settings
        self._shares_port = shares_port
        self.address = ""
        self._store = Store(
            settings.data_dir,
            settings.cache_size,
            settings.cache_ttl,
            durability=settings.durability,
        )
        memory = Memory(self._store, settings.memory_size)
        self._leases = Leases(self._store.folder / "leases", self._store.condition)
        self._background = Background()
        self._menu = Menu(settings, memory, self._leases, self._background)
        self._health = Health()
        self._hurry = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._warming: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Open the store and listen. Raises ConfigError where that cannot be."""
        settings = self.settings
        await self._store.open()
        # Whoever ended between a commit and its word of it has left others with what it replaced.
        self._store.epoch.advance()
        reranker = Reranker(self._menu.models, settings.partial_interval)
        limits = Limits(
            settings.max_documents, settings.max_query_chars, settings.max_message_bytes
        )
        recent = settings.recent_size // 2
        service = RerankService(
            reranker,
            Replies(recent, self._store.freshness.is_fresh),
            Familiar(recent, limits, self._store.freshness.are_fresh),
            lambda: self._store.epoch.now,
            self._background.make_way,
            limits,
            settings.deadline_margin,
            settings.time_limit,
        )
        self._server = _build_server(service, self._health, limits, self._shares_port)
        try:
            port = _bind(self._server, settings.listen)
        except ConfigError:
            await self._store.close()
            raise
        self.address = _address(settings.listen, port)
        await self._server.start()
        self._health.report(SERVICE, works=True)
        for condition in (self._store.condition, self._menu.providers.condition):
            condition.watch(self._report)
        self._warming = asyncio.gather(*map(_tell_defect, self._menu.slow_to_load()))

    async def introduction(self) -> Sequence[LogLine]:
        """Give what the log is to say of a server that has started; its last line says "ready"."""
        lines = []
        if not _is_local(self.address):
            what = (
                "other machines can reach this server, and calls are neither encrypted nor checked"
            )
            lines.append(LogLine("warning", what, {"listen": self.address}))
        if self.settings.default_model == LEXICAL and not self.settings.model:
            fix = "set OPENAI_API_KEY, or OPENAI_BASE_URL for a local server"
            lines.append(
                LogLine("warning", "no language model: ranking by shared words only", {"fix": fix})
            )
        providers = self.settings.all_providers.items()
        ready = {
            "version": __version__,
            "listen": self.address,
            "model": self.settings.default_model,
            "providers": {name: endpoint_of(name, each).address for name, each in providers},
            "pairs_stored": await self._store.count(),
            "data_dir": str(self.settings.data_dir),
        }
        return [*lines, LogLine("info", "ready", ready)]

    async def warmed_up(self) -> None:
        """Wait until what is slow to load is loaded; calls may come before, and wait for it."""
        assert self._warming is not None
        await asyncio.shield(self._warming)

    async def stop(self) -> None:
        """Stop in order. Running calls get the grace, and after it what they have sent gets it.

        Whoever is still waiting after the grace is told that the server is shutting down.
        """
        if self._server is None:
            return
        grace = self.settings.grace
        await self._health.close()
        # Refuses new calls from here on; a little longer than the grace, so that calls end by us.
        stopping = asyncio.create_task(self._server.stop(grace + _LAST_WORDS))
        await self._until_done(stopping, grace)
        for cache in self._menu.caches:
            cache.dismiss()
        await self._server.stop(_LAST_WORDS)  # also for calls that wait for a slow reader
        await stopping
        draining = asyncio.gather(*(cache.drain() for cache in self._menu.caches))
        await self._until_done(draining, grace)
        for cache in self._menu.caches:
            await cache.give_up()
        await draining
        self._leases.close()
        await self._store.close()
        await self._menu.close()
        if self._warming is not None:
            await self._warming

    @property
    def spent(self) -> Mapping[tuple[str, str], Spent]:
        """What was spent on each model since the start, by its provider's address and its name.

        Counts all calls that were sent, also those whose caller left or ran out of time.
        """
        return {
            (provider.endpoint.address, name): learnt.spent
            for provider in self._menu.providers
            for name, learnt in provider.models.items()
        }

    @property
    def waiting(self) -> int:
        """How many scores wait to be stored, as the database is locked or full."""
        return self._store.waiting

    @property
    def lost(self) -> int:
        """How many scores were never stored, as too many waited, or too long."""
        return self._store.lost

    def hurry(self) -> None:
        """End the grace of a `stop` that is under way or to come."""
        self._hurry.set()

    def _report(self, part: str, works: bool) -> None:
        self._health.report(f"rerankd.{part}", works)

    async def _until_done(self, work: asyncio.Future[Any], seconds: float) -> None:
        """Wait for `work`, but not for longer than `seconds`, and not when in a hurry."""
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({work, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()


async def _tell_defect(work: Awaitable[object]) -> None:
    """Await `work`; what it raises is logged here, and raised again to each call that needs it."""
    try:
        await work
    except Exception as error:  # noqa: BLE001
        log_defect(error)


def _build_server(
    service: RerankService, health: Health, limits: Limits, shares_port: bool
) -> grpc.aio.Server:
    # Twice the limit: what lies between is refused by us, with an error that says what to do.
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", 2 * limits.message_bytes),
            ("grpc.max_send_message_length", 2 * limits.message_bytes),
            # 1 and two servers share one port, each with half the calls.
            ("grpc.so_reuseport", int(shares_port)),
            # Clients may ask for a sign of life this often; gRPC's 5 minutes cut off all who do.
            ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )
    service.add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    serve_reflection((SERVICE, health_name), server)
    return server


def _bind(server: grpc.aio.Server, listen: str) -> int:
    """Give the port that `server` will listen on. Raises ConfigError.

    A unix socket is for this user alone: whoever may write to it may spend money.
    """
    if _somebody_listens(listen):
        raise cannot_listen(listen)
    umask = os.umask(0o077) if listen.startswith("unix:") else None
    try:
        return server.add_insecure_port(listen)
    except RuntimeError:
        raise cannot_listen(listen) from None
    finally:
        if umask is not None:
            os.umask(umask)


def _somebody_listens(address: str) -> bool:
    """Whether a unix socket is in use: gRPC would take it over. Ports look after themselves."""
    if not address.startswith("unix:"):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address.removeprefix("unix:")) == 0


def _is_local(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    if address.startswith("unix:"):
        return True
    return is_loopback(address.rpartition(":")[0].strip("[]"))


def _address(listen: str, port: int) -> str:
    """Give the address that clients dial, with the port that was really taken."""
    if listen.startswith("unix:"):
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"
