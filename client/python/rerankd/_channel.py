"""How a client reaches its server: address, encryption, token, retries, keepalive."""

import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple, TypedDict

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
# A server that is back is found soon: gRPC by itself waits for up to two minutes.
_RECONNECTING = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_MOST_REPEATED = 256 << 20
"""Bytes of requests that are kept to be sent again: gRPC's 256 KiB are soon too few."""
_LOCAL = re.compile(
    r"(dns:(///)?|ipv[46]:)?(127\.\d+\.\d+\.\d+|\[::1\]|localhost)(:\d+)?$|unix:", re.IGNORECASE
)
_SENDABLE = re.compile(r"[!-~]+")
_SCHEME = re.compile(r"(https?|grpcs?|tcp|wss?)://", re.IGNORECASE)


class Connection(TypedDict, total=False):
    """How to reach the server, beside its address."""

    tls: bool | bytes | grpc.ChannelCredentials
    """Encrypt: True for the system's roots, or roots in PEM, or gRPC's credentials."""
    token: str
    """Sent with each call as `authorization: Bearer`; needs `tls` unless the server is local."""
    service_config: str
    """A gRPC service config in JSON, such as `RETRYING`."""
    keepalive: float
    """Seconds of silence until the server is asked for a sign of life, and that it has to give it.

    At least 5, or the server hangs up.
    """


class Way(NamedTuple):
    """What a channel is opened with."""

    target: str
    credentials: grpc.ChannelCredentials | None
    options: Sequence[tuple[str, int | str]]
    metadata: Metadata
    """Sent along with each call."""

    def open(self) -> grpc.Channel:
        """Open a channel that blocks."""
        if self.credentials:
            return grpc.secure_channel(self.target, self.credentials, self.options)
        return grpc.insecure_channel(self.target, self.options)

    def open_aio(self) -> grpc.aio.Channel:
        """Open a channel for asyncio."""
        if self.credentials:
            return grpc.aio.secure_channel(self.target, self.credentials, self.options)
        return grpc.aio.insecure_channel(self.target, self.options)


def way_to(address: str, connection: Connection) -> Way:
    """Settle how to reach `address`. Raises ValueError or TypeError for what cannot be meant."""
    if unknown := connection.keys() - Connection.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}")
    if scheme := _SCHEME.match(address):
        raise ValueError(
            f"address {address!r}: give host:port or unix:/path, without {scheme[0]}; "
            "encryption is the option `tls`"
        )
    is_local = _LOCAL.match(address) is not None
    credentials = _credentials(connection.get("tls", False))
    token = connection.get("token")
    if token is not None and not _SENDABLE.fullmatch(token):
        raise ValueError("token: is empty, or holds characters that no header takes")
    if token and not (credentials or is_local):
        raise ValueError(
            f"address {address!r}: a token would be sent there in plain text; set `tls`"
        )
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    return Way(address, credentials, [*_options(connection, is_local=is_local)], metadata)


def _credentials(tls: object) -> grpc.ChannelCredentials | None:
    if tls is False or isinstance(tls, grpc.ChannelCredentials):
        return tls or None
    if tls is True:
        return grpc.ssl_channel_credentials()
    if not isinstance(tls, bytes):
        raise TypeError(f"tls: takes True, roots in PEM as bytes, or credentials, not {type(tls)}")
    if not tls.strip():
        raise ValueError("tls: holds no certificate")
    return grpc.ssl_channel_credentials(tls)


def _options(connection: Connection, *, is_local: bool) -> Iterator[tuple[str, int | str]]:
    yield from _UNLIMITED
    yield from _RECONNECTING
    if is_local:
        yield ("grpc.enable_http_proxy", 0)
    if "service_config" in connection:
        config = connection["service_config"]
        try:
            is_config = isinstance(json.loads(config), dict)
        except ValueError:
            is_config = False
        if not is_config:
            raise ValueError("service_config: is no JSON object")
        yield ("grpc.service_config", config)
        yield ("grpc.per_rpc_retry_buffer_size", _MOST_REPEATED)
    if "keepalive" in connection:
        milliseconds = round(connection["keepalive"] * 1000)
        yield ("grpc.keepalive_time_ms", milliseconds)
        yield ("grpc.keepalive_timeout_ms", milliseconds)
        yield ("grpc.http2.ping_timeout_ms", milliseconds)  # the former, since 1.60
        yield ("grpc.http2.max_pings_without_data", 0)  # no limit: gRPC stops at two
