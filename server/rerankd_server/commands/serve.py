"""`rerankd serve`: run the server until SIGTERM or SIGINT."""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from rerankd_server.app import App
from rerankd_server.config import Settings, load_settings
from rerankd_server.logs import configure_logs, log_defect

_OBJECTS = 20_000
"""New objects after which Python looks for garbage: some dozens of calls, instead of each other."""


def serve(flags: Mapping[str, str], environ: Mapping[str, str], config: Path | None) -> int:
    """Run a server; gives the exit status. Raises ConfigError where it cannot start."""
    settings = load_settings(flags, environ, config)
    configure_logs(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=_event_loop()) as runner:
        runner.run(_serve(settings))
    return 0


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give what makes the faster event loop, where there is one for this platform."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio would otherwise print in its own words, which may hold private texts."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log_defect(error)
    else:
        structlog.get_logger().error("asyncio", message=context.get("message"))


async def _serve(settings: Settings) -> None:
    """Serve until a signal; a second signal ends the grace."""
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, None)
    app = App(settings)
    await app.start()
    freezing = asyncio.create_task(_freeze(app))
    await signals.get()
    stopping = asyncio.create_task(app.stop())
    hurry = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        app.hurry()
    hurry.cancel()
    await stopping
    await freezing


async def _freeze(app: App) -> None:
    """Take all that was loaded out of Python's garbage collection, and collect less often.

    What was loaded stays for good; to look through it again and again would stop all calls for 50
    to 100 ms. And a call makes hundreds of objects, hardly any of them in cycles.
    """
    await app.warmed_up()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS)
