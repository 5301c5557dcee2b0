"""The gRPC server: its options, its services, and where it listens."""

import os
import socket

from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc
from rerankd_server.api.current import SERVICE, Current
from rerankd_server.api.health import Health
from rerankd_server.api.intake import OPTIONS, Intake
from rerankd_server.api.reflection import serve_reflection
from rerankd_server.port import cannot_listen
from rerankd_server.scoring.base_url import is_loopback

_LEAST_PING_MS = 5_000
"""Half of the least that grpc-go's clients send at."""


def build_server(largest: int, idle_timeout: float, shares_port: bool) -> grpc.aio.Server:
    """Return a server for messages of at most `largest` bytes, which may share its port.

    It closes connections that had no call for `idle_timeout` seconds.
    """
    return grpc.aio.server(
        options=[
            *OPTIONS,
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", largest),
            ("grpc.max_connection_idle_ms", round(idle_timeout * 1000)),
            # 1 and two servers share one port, each with half the calls.
            ("grpc.so_reuseport", int(shares_port)),
            # Clients may ask for a sign of life this often; gRPC's 5 minutes cut off all who do.
            ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )


def add_services(current: Current, health: Health, intake: Intake) -> None:
    """Serve all services."""
    current.add_to(intake)
    health_pb2_grpc.add_HealthServicer_to_server(health, intake)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    serve_reflection((SERVICE, health_name), intake)


def bind(server: grpc.aio.Server, listen: str) -> int:
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


def is_local(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    if address.startswith("unix:"):
        return True
    return is_loopback(address.rpartition(":")[0].strip("[]"))


def address_of(listen: str, port: int) -> str:
    """Give the address that clients dial, with the port that was really taken."""
    if listen.startswith("unix:"):
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"
