"""`rerankd serve`: run the server until SIGTERM or SIGINT, in one process or in several."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from rerankd_server.config import Settings, load_settings
from rerankd_server.logs import LogLine, configure_logs


def serve(flags: Mapping[str, str], environ: Mapping[str, str], config: Path | None) -> int:
    """Run a server; gives the exit status. Raises ConfigError where it cannot start."""
    settings = load_settings(flags, environ, config)
    configure_logs(settings.log_format, settings.log_level)
    if settings.workers > 1:
        from rerankd_server.commands.supervisor import supervise  # noqa: PLC0415

        return supervise(settings)
    from rerankd_server.commands.serving import run_loop  # noqa: PLC0415

    run_loop(_serve(settings))
    structlog.get_logger().info("stopped")
    return 0


async def _serve(settings: Settings) -> None:
    """Serve until a signal; a second signal ends the grace."""
    # Here, for who starts several processes loads no server.
    from rerankd_server.app import App  # noqa: PLC0415
    from rerankd_server.commands.serving import Orders, run  # noqa: PLC0415

    orders = Orders()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, orders.again)
    await run(App(settings), orders, _say)


def _say(lines: Sequence[LogLine]) -> None:
    for line in lines:
        line.write()
