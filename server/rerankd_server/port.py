"""The port that several processes share: each listens there, and the kernel deals out connections.

To reserve it is not to listen: no connection comes before a process is there to take it. And since
any process of this user could share the port too, it is first seen to that nobody has it.
"""

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rerankd_server.errors import ConfigError


def cannot_listen(listen: str) -> ConfigError:
    """Say that the address cannot be had."""
    return ConfigError(
        f"listen: cannot listen on {listen}; another process may use it, or this machine may not "
        "have that address"
    )


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Reserve host:port, and give it with the port that was taken. Raises ConfigError."""
    if listen.startswith("unix:"):
        raise ConfigError("workers: processes cannot share a unix socket; listen on host:port")
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("workers: processes cannot share a port on this platform; leave it at 1")
    host, _, port = listen.rpartition(":")
    taken = int(port)
    with ExitStack() as held:
        sockets = []
        for family, place in _places(listen, host.strip("[]")):
            try:
                sockets.append(held.enter_context(_holding(family, place, taken)))
            except (OSError, OverflowError) as error:
                if getattr(error, "errno", None) == errno.EADDRINUSE:
                    raise cannot_listen(listen) from None
                continue  # an address that this machine lacks, perhaps of several
            taken = sockets[-1].getsockname()[1]
        if not sockets:
            raise cannot_listen(listen)
        yield f"{host}:{taken}"


def _places(listen: str, host: str) -> Iterable[tuple[int, tuple[Any, ...]]]:
    """Give the addresses that `host` stands for, with their families."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise cannot_listen(listen) from None
    return dict.fromkeys((family, place) for family, _, _, _, place in found)


def _holding(family: int, place: tuple[Any, ...], port: int) -> socket.socket:
    """Give a socket that holds the port, for those who share it. Raises OSError."""
    place = (place[0], port, *place[2:])
    with socket.socket(family) as probe:  # fails where anybody has the port, sharing or not
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)
    holding = socket.socket(family)
    try:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Past connections do not count, as with gRPC; but whoever else tries is to fail.
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(place)
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        holding.close()
        raise
    return holding
