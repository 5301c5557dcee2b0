"""Running a server until it is told to stop: what one process does alone, and each of several."""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from rerankd_server.app import App
from rerankd_server.config import Settings
from rerankd_server.errors import ConfigError
from rerankd_server.logs import LogLine, log_defect, set_level
from rerankd_server.off_loop import SWITCH

_OBJECTS = 20_000
"""New objects after which Python looks for garbage: some dozens of calls, instead of each other."""


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, in the faster event loop where there is one for this platform."""
    sys.setswitchinterval(SWITCH)
    with asyncio.Runner(loop_factory=_event_loop()) as runner:
        runner.run(work)


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop


class Orders:
    """What a server is told: other settings; to stop, and then to do it without grace."""

    def __init__(self) -> None:
        self.settings: asyncio.Queue[Settings] = asyncio.Queue()
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def reload(self, load: Callable[[], Settings]) -> None:
        """Have other settings gone by, or say why they cannot be."""
        try:
            self.settings.put_nowait(load())
        except ConfigError as error:
            _refused(error)

    def again(self) -> None:
        """Take in a signal: the first says stop, the second hurry."""
        (self.hurry if self.stop.is_set() else self.stop).set()


async def run(app: App, orders: Orders, on_start: Callable[[Sequence[LogLine]], None]) -> None:
    """Serve until `orders` say stop; `on_start` is given what the log is to say of the start."""
    asyncio.get_running_loop().set_exception_handler(_log_unhandled)
    await app.start()
    on_start(await app.introduction())
    freezing = asyncio.create_task(freeze(app))
    reloading = asyncio.create_task(_reload(app, orders.settings))
    await orders.stop.wait()
    reloading.cancel()
    stopping = asyncio.create_task(app.stop())
    hurry = asyncio.create_task(orders.hurry.wait())
    await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        app.hurry()
    hurry.cancel()
    await stopping
    await freezing


async def _reload(app: App, orders: asyncio.Queue[Settings]) -> None:
    """Have `app` go by whatever settings come."""
    while True:
        settings = await orders.get()
        try:
            app.reload(settings)
        except ConfigError as error:
            _refused(error)
        else:
            set_level(settings.log_level)


def _refused(error: ConfigError) -> None:
    structlog.get_logger().error("settings stay as they are", error=str(error))


async def freeze(app: App) -> None:
    """Take all that was loaded out of Python's garbage collection, and collect less often.

    What was loaded stays for good; to look through it again and again would stop all calls for 50
    to 100 ms. And a call makes hundreds of objects, hardly any of them in cycles.
    """
    await app.warmed_up()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS)


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio would otherwise print in its own words, which may hold private texts."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log_defect(error)
    else:
        structlog.get_logger().error("asyncio", message=context.get("message"))
