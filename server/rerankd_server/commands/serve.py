"""`rerankd serve`: run the server until SIGTERM or SIGINT, in one process or in several."""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from rerankd_server.config import Settings, load_settings
from rerankd_server.logs import LogLine, configure_logs


def serve(flags: Mapping[str, str], environ: Mapping[str, str], config: Path | None) -> int:
    """Run a server; gives the exit status. Raises ConfigError where it cannot start."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it has the settings read again
    settings = load_settings(flags, environ, config)
    configure_logs(settings.log_format, settings.log_level)
    if settings.workers > 1:
        from rerankd_server.commands.supervisor import supervise  # noqa: PLC0415

        return supervise(settings)
    from rerankd_server.commands.serving import run_loop  # noqa: PLC0415

    run_loop(_serve(settings, lambda: load_settings(flags, environ, config)))
    structlog.get_logger().info("stopped")
    return 0


async def _serve(settings: Settings, load: Callable[[], Settings]) -> None:
    """Serve until a signal; a second one ends the grace. At SIGHUP, `load` the settings again."""
    # Here, for who starts several processes loads no server.
    from rerankd_server.app import App  # noqa: PLC0415
    from rerankd_server.commands.serving import Orders, run  # noqa: PLC0415

    orders = Orders()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, orders.again)
    loop.add_signal_handler(signal.SIGHUP, lambda: orders.reload(load))
    await run(App(settings), orders, _say)


def _say(lines: Sequence[LogLine]) -> None:
    for line in lines:
        line.write()
