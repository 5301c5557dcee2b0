"""How a client reaches its server: address, encryption, token, retries, keepalive."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TypedDict

import grpc.aio

import grpc

ADDRESS = "127.0.0.1:50051"
"""Where `rerankd serve` listens unless told otherwise."""

RETRYING = files("rerankd").joinpath("service_config.json").read_text(encoding="utf-8")
"""A gRPC service config, for `service_config`: calls that a server cannot take now are made again.

Up to three more times, after as long as the server says, and not beyond the call's timeout. What
was bought by then is cached, so nothing is bought twice.
"""

Metadata = tuple[tuple[str, str | bytes], ...]

# The server bounds messages and says so in words; a second bound here would only hide them.
_UNLIMITED = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_MOST_REPEATED = 256 << 20
"""Bytes of requests that are kept to be sent again: gRPC's 256 KiB are soon too few."""
_LOCAL = re.compile(r"127\.|\[::1\]|localhost(:|$)|unix:")
_SCHEME = re.compile(r"(https?|grpcs?|tcp|wss?)://", re.IGNORECASE)


class Connection(TypedDict, total=False):
    """How to reach the server, beside its address."""

    tls: bool | bytes
    """Encrypt, and check the server's certificate against the system's roots, or these (PEM)."""
    token: str
    """Sent with each call as `authorization: Bearer`; needs `tls` unless the server is local."""
    service_config: str
    """A gRPC service config in JSON, such as `RETRYING`."""
    keepalive: float
    """Seconds of silence until the server is asked for a sign of life, and that it has to give it.

    At least 5, or the server hangs up.
    """


def open_channel(address: str, connection: Connection) -> grpc.Channel:
    """Open a channel that blocks. Raises ValueError, TypeError for what cannot be meant."""
    target, options, credentials = _settle(address, connection)
    if credentials:
        return grpc.secure_channel(target, credentials, options)
    return grpc.insecure_channel(target, options)


def open_aio_channel(address: str, connection: Connection) -> grpc.aio.Channel:
    """Open a channel for asyncio; see `open_channel`."""
    target, options, credentials = _settle(address, connection)
    if credentials:
        return grpc.aio.secure_channel(target, credentials, options)
    return grpc.aio.insecure_channel(target, options)


def metadata_of(connection: Connection) -> Metadata:
    """Give what is sent along with each call."""
    token = connection.get("token")
    return (("authorization", f"Bearer {token}"),) if token else ()


def _settle(
    address: str, connection: Connection
) -> tuple[str, Sequence[tuple[str, int | str]], grpc.ChannelCredentials | None]:
    """Give target, channel options, and credentials where the channel is to be encrypted."""
    if unknown := connection.keys() - Connection.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}")
    if scheme := _SCHEME.match(address):
        raise ValueError(
            f"address {address!r}: give host:port or unix:/path, without {scheme[0]}; "
            "encryption is the option `tls`"
        )
    local = _LOCAL.match(address) is not None
    tls = connection.get("tls", False)
    if connection.get("token") and not (tls or local):
        raise ValueError(
            f"address {address!r}: a token would be sent there in plain text; set `tls`"
        )
    options: list[tuple[str, int | str]] = [*_UNLIMITED]
    if local:
        options.append(("grpc.enable_http_proxy", 0))
    if "service_config" in connection:
        options.append(("grpc.service_config", connection["service_config"]))
        options.append(("grpc.per_rpc_retry_buffer_size", _MOST_REPEATED))
    if "keepalive" in connection:
        milliseconds = round(connection["keepalive"] * 1000)
        options.append(("grpc.keepalive_time_ms", milliseconds))
        options.append(("grpc.keepalive_timeout_ms", milliseconds))
        options.append(("grpc.http2.ping_timeout_ms", milliseconds))  # the former, since 1.60
        options.append(("grpc.http2.max_pings_without_data", 0))  # no limit: gRPC stops at two
    roots = tls if isinstance(tls, bytes) else None
    return address, options, grpc.ssl_channel_credentials(roots) if tls else None
