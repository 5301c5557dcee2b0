"""Where a redirect leads, as a message may say it: a host, and nothing that was sent.

A redirect is never followed. Its address is a provider's own words: a path, a query or a user may
quote a text or the key, and so may a name that looks like a host's.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""A host's name, in lower case, as DNS has it."""
_PLAIN = re.compile("[!-~]*")
_PART = re.compile("[a-z0-9]{4,}")


def target(headers: Mapping[str, str]) -> str | None:
    """Return the host that a redirect names; empty where it names none, None without one."""
    location = headers.get("location")
    if location is None:
        return None
    if not _PLAIN.fullmatch(location):  # a blank within would be passed over
        return ""
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
    except ValueError:
        return ""
    is_host = parts.scheme in ("", "http", "https") and (_HOST.fullmatch(host) or _is_address(host))
    return host if is_host else ""


def quotes(host: str, sent: str) -> bool:
    """Return whether a part of `host` stands in the text `sent`: it may be taken from there."""
    letters = re.sub("[^a-z0-9]", "", sent.lower())
    return any(part in letters for part in _PART.findall(host))


def _is_address(host: str) -> bool:
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        return False
