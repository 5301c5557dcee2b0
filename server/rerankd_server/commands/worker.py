"""One of several processes that serve, as the supervisor's child.

It says by its pipe how its start went, and is told by it to stop. The end of the pipe says so too:
the supervisor is gone. A signal of its own makes it stop in order; where a terminal or a service
manager signals all processes at once, it is the supervisor's second order that ends the grace.
"""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection

import structlog

from rerankd_server.config import Settings
from rerankd_server.errors import ConfigError
from rerankd_server.logs import LogLine, configure_logs

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Order(Enum):
    """What the supervisor tells a worker."""

    STOP = "stop"
    HURRY = "hurry"


@dataclass(frozen=True, slots=True)
class Serves:
    """What a worker says when it has started."""

    introduction: Sequence[LogLine]


@dataclass(frozen=True, slots=True)
class Refuses:
    """What a worker says when it cannot start with its settings."""

    message: str


def work(number: int, settings: Settings, pipe: Connection) -> None:
    """Be worker `number`, by `settings` of its own, until told to stop."""
    configure_logs(settings.log_format, settings.log_level, number)
    from rerankd_server.commands.serving import run_loop  # noqa: PLC0415

    try:
        run_loop(_work(settings, pipe))
    except ConfigError as error:
        pipe.send(Refuses(str(error)))


async def _work(settings: Settings, pipe: Connection) -> None:
    # Here, for the supervisor loads this module too, and no server.
    from rerankd_server.app import App  # noqa: PLC0415
    from rerankd_server.commands.serving import Orders, run  # noqa: PLC0415

    orders = Orders()
    loop = asyncio.get_running_loop()
    for each in SIGNALS:
        loop.add_signal_handler(each, orders.stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the supervisor starts it with them held

    def obey() -> None:
        try:
            order = pipe.recv()
        except (EOFError, OSError):
            structlog.get_logger().warning("the supervisor is gone: this worker stops")
            loop.remove_reader(pipe.fileno())
            order = Order.STOP
        orders.stop.set()
        if order is Order.HURRY:
            orders.hurry.set()

    loop.add_reader(pipe.fileno(), obey)

    def introduce(lines: Sequence[LogLine]) -> None:
        pipe.send(Serves(lines))

    await run(App(settings, shares_port=True), orders, introduce)
