"""The proxy that the environment names: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and NO_PROXY."""

import base64
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from rerankd_server.scoring.base_url import is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is, and what it is sent."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def proxy_for(base_url: str) -> Proxy | None:
    """Return the proxy behind which `base_url` is looked for; None where it is asked directly.

    What is on this machine always is.
    """
    parts = urlsplit(base_url)
    host, named = parts.hostname or "", getproxies()
    url = named.get(parts.scheme) or named.get("all")
    direct = [entry for part in named.get("no", "").split(",") if (entry := part.strip().lower())]
    at = f"{host}:{parts.port}"
    if not url or is_loopback(host) or any(_covers(entry, host, at) for entry in direct):
        return None
    return _proxy(url if "://" in url else f"http://{url}")


def _covers(entry: str, host: str, at: str) -> bool:
    """Return whether `entry` of NO_PROXY is `host`, `at` its port, or a domain or net around it."""
    name = entry.rpartition("://")[2]
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name.strip("[]"), strict=False)
    domain = name.removeprefix("*").removeprefix(".")
    return name == "*" or any(f".{each}".endswith(f".{domain}") for each in (host, at) if domain)


def _proxy(url: str) -> Proxy:
    """Return the proxy at `url`, with the password that it holds as a header."""
    parts = urlsplit(url)
    if parts.username is None:
        return Proxy(url)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    said = base64.b64encode(login).decode()
    return Proxy(bare, {"Proxy-Authorization": f"Basic {said}"})
