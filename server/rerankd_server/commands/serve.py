"""`rerankd serve`: run the server until SIGTERM or SIGINT."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from rerankd_server.app import App
from rerankd_server.config import Settings, load_settings
from rerankd_server.logs import configure_logs


def serve(flags: Mapping[str, str], environ: Mapping[str, str], config: Path | None) -> int:
    """Run a server; gives the exit status. Raises ConfigError where it cannot start."""
    settings = load_settings(flags, environ, config)
    configure_logs(settings.log_format, settings.log_level)
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    """Serve until a signal; a second signal ends the grace."""
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, None)
    app = App(settings)
    await app.start()
    await signals.get()
    stopping = asyncio.create_task(app.stop())
    hurry = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await app.hurry()
    hurry.cancel()
    await stopping
