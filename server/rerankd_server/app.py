"""The application: builds the parts, and starts and stops them in order. The only place that wires.

Start: store, scorers, reranker, server, health. Stop: health says NOT_SERVING, all is served for a
while, no new calls, the running ones finish within the grace, what is bought is stored, store and
provider close.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import structlog

import grpc
from rerankd_server import __version__
from rerankd_server.api.admission import Admission
from rerankd_server.api.arrivals import Arrivals
from rerankd_server.api.current import SERVICE, Current
from rerankd_server.api.familiar import Familiar
from rerankd_server.api.health import Health
from rerankd_server.api.intake import Intake
from rerankd_server.api.listener import add_services, address_of, bind, build_server, is_local
from rerankd_server.api.replies import Replies
from rerankd_server.api.service import RerankService
from rerankd_server.api.validation import Limits
from rerankd_server.background import Background
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.store import Store
from rerankd_server.config import DRAIN, FIXED, LEXICAL, Settings
from rerankd_server.errors import ConfigError
from rerankd_server.logs import LogLine, log_defect
from rerankd_server.menu import Menu
from rerankd_server.off_loop import OffLoop
from rerankd_server.providers import endpoint_of
from rerankd_server.reranker import Reranker
from rerankd_server.scoring.learning import Spent

_log = structlog.get_logger()

_LAST_WORDS = 1.0
"""Seconds that calls get to end in order when their grace is over."""

_WITHIN_REASON = 2
"""Times the largest message that is read: what lies between is refused with what to do."""


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
        self._memory = Memory(self._store, settings.memory_size)
        self._leases = Leases(self._store.folder / "leases", self._store.condition)
        self._background = Background()
        self._off_loop = OffLoop(self._background)
        self._menu = self._make_menu(settings)
        self._former: dict[Menu, asyncio.Task[None]] = {}
        """Those that other settings made, of which calls may be under way; and what ends them."""
        self._spent_before: dict[tuple[str, str], Spent] = {}
        """By those that have ended."""
        self._admission = Admission(settings.max_bytes_in_flight, settings.max_calls)
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
        self._current = Current(self._make_service())
        largest = _WITHIN_REASON * settings.max_message_bytes
        self._server = build_server(largest, settings.idle_timeout, self._shares_port)
        arrivals = Arrivals(self._admission, largest, settings.message_timeout)
        intake = Intake(self._server, self._admission, arrivals, largest)
        add_services(self._current, self._health, intake)
        try:
            port = bind(self._server, settings.listen)
        except ConfigError:
            await self._store.close()
            raise
        self.address = address_of(settings.listen, port)
        await self._server.start()
        self._health.report(SERVICE, works=True)
        self._store.condition.watch(self._report)
        self._begin_with_menu()

    async def introduction(self) -> Sequence[LogLine]:
        """Give what the log is to say of a server that has started; its last line says "ready"."""
        lines = []
        if not is_local(self.address):
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

    def reload(self, settings: Settings) -> None:
        """Go by `settings` from the next call on; what is under way goes on by the former ones.

        Raises ConfigError where they cannot be gone by: then nothing changes. What only a restart
        can change stays as it is, and the log says so.
        """
        fixed = {name: getattr(self.settings, name) for name in FIXED}
        waiting = sorted(name for name, value in fixed.items() if getattr(settings, name) != value)
        settings = settings.model_copy(update=fixed)
        menu = self._make_menu(settings)
        retiring = asyncio.create_task(self._retire(self._menu, self.settings.time_limit))
        self._former[self._menu] = retiring
        self.settings, self._menu = settings, menu
        self._current.service = self._make_service()
        self._begin_with_menu()
        _log.info("settings read again", models=list(settings.catalogue))
        if waiting:
            _log.warning("some settings change with the next start only", settings=waiting)

    async def former_ended(self) -> None:
        """Wait until nothing goes by former settings any more."""
        await asyncio.gather(*self._former.values())

    def _make_menu(self, settings: Settings) -> Menu:
        return Menu(settings, self._memory, self._leases, self._background, self._off_loop)

    def _make_service(self) -> RerankService:
        """Make the service, with nothing in its response caches."""
        settings, freshness = self.settings, self._store.freshness
        limits = Limits(
            settings.max_documents, settings.max_query_chars, settings.max_message_bytes
        )
        recent = settings.recent_size // 2
        return RerankService(
            Reranker(self._menu.models, settings.partial_interval, self._off_loop),
            Replies(recent, freshness.is_fresh),
            Familiar(recent, limits, freshness.are_fresh),
            lambda: self._store.epoch.now,
            self._background.make_way,
            limits,
            settings.deadline_margin,
            settings.time_limit,
            off_loop=self._off_loop,
            admission=self._admission,
        )

    async def _retire(self, menu: Menu, seconds: float) -> None:
        """End `menu` when all calls that came to it are over, which take at most `seconds`."""
        await asyncio.sleep(seconds)
        await asyncio.gather(*(cache.drain() for cache in menu.caches))
        await menu.close()
        del self._former[menu]
        _add_up(self._spent_before, menu)

    def _begin_with_menu(self) -> None:
        """Tell of the menu's providers, and load what is slow to load."""
        self._menu.providers.condition.watch(self._report)
        self._warming = asyncio.gather(*map(_tell_defect, self._menu.slow_to_load()))

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
        for retiring in self._former.values():
            retiring.cancel()
        grace, seconds = self.settings.grace, self._drain_seconds()
        _log.info(
            "stopping",
            calls=self._admission.calls,
            drain=seconds,
            grace=grace,
            fix="signal again (Ctrl-C) to end at once",
        )
        await self._health.close()
        await self._until_done(None, seconds)
        await self._admission.close()
        # Refuses new calls from here on; a little longer than the grace, so that calls end by us.
        stopping = asyncio.create_task(self._server.stop(grace + _LAST_WORDS))
        await self._until_done(stopping, grace)
        caches = [cache for menu in self._menus for cache in menu.caches]
        for cache in caches:
            cache.dismiss()
        await self._server.stop(_LAST_WORDS)  # also for calls that wait for a slow reader
        await stopping
        draining = asyncio.gather(*(cache.drain() for cache in caches))
        await self._until_done(draining, grace)
        for cache in caches:
            await cache.give_up()
        await draining
        self._leases.close()
        await self._store.close()
        for menu in self._menus:
            await menu.close()
        self._off_loop.close()
        if self._warming is not None:
            await self._warming

    def _drain_seconds(self) -> float:
        """Return for how long to serve on, once the health says NOT_SERVING."""
        if self.settings.drain is not None:
            return self.settings.drain
        return DRAIN if self._health.is_looked_at else 0.0

    @property
    def _menus(self) -> Sequence[Menu]:
        return [*self._former, self._menu]

    @property
    def spent(self) -> Mapping[tuple[str, str], Spent]:
        """What was spent on each model since the start, by its provider's address and its name.

        Counts all calls that were sent, also those whose caller left or ran out of time.
        """
        total = dict(self._spent_before)
        for menu in self._menus:
            _add_up(total, menu)
        return total

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

    async def _until_done(self, work: asyncio.Future[Any] | None, seconds: float) -> None:
        """Wait for `work`, but not for longer than `seconds`, and not when in a hurry."""
        hurry = asyncio.create_task(self._hurry.wait())
        both = {hurry} if work is None else {work, hurry}
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()


def _add_up(total: dict[tuple[str, str], Spent], menu: Menu) -> None:
    """Add to `total` what the menu's models have cost."""
    for provider in menu.providers:
        for name, learnt in provider.models.items():
            model = provider.endpoint.address, name
            total[model] = total.get(model, Spent()) + learnt.spent


async def _tell_defect(work: Awaitable[object]) -> None:
    """Await `work`; what it raises is logged here, and raised again to each call that needs it."""
    try:
        await work
    except Exception as error:  # noqa: BLE001
        log_defect(error)
