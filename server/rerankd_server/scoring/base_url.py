"""A provider's base URL: what people paste, made right, or refused with what to write instead."""

import ipaddress
from urllib.parse import SplitResult, parse_qsl, urlsplit

_METHODS = ("/chat/completions", "/completions", "/embeddings")
"""What comes behind a base URL; whoever copied a whole call's URL has it too."""


def clean_base_url(text: str) -> str:
    """Return `text` as it can be used: without blanks, quotes or a call's own path.

    Raises ValueError, which says what to write instead. The message repeats no password.
    """
    url = text.strip().strip("'\"").strip()
    if not url:
        raise ValueError("is empty; write a URL such as https://api.openai.com/v1")
    scheme, colon, rest = url.partition(":")
    if colon and scheme.lower() in ("http", "https") and not rest.startswith("//"):
        raise ValueError(f"has too few slashes; write {scheme}://{rest.lstrip('/')}")
    if not colon or "://" not in url:
        raise ValueError(f"has no scheme; write http://{url} or https://{url}")
    parts = urlsplit(url)
    _check(url, parts)
    path = parts.path
    for method in _METHODS:
        if path.rstrip("/").endswith(method):
            path = path.rstrip("/").removesuffix(method)
    if path == parts.path and not parts.query:
        return url.rstrip("?")
    return parts._replace(path=path).geturl()


def _check(url: str, parts: SplitResult) -> None:
    """Raise ValueError where no request can be sent to `url`, or it holds a password."""
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError(f"begins with {parts.scheme}://; write http:// or https://")
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("has a port that is none; write a number from 1 to 65535") from None
    if not host or any(c.isspace() for c in url):
        raise ValueError("has no host, or a blank in it; write https://host/v1")
    if parts.username is not None or parts.password is not None:
        address = parts.netloc.rpartition("@")[2]
        raise ValueError(
            f"holds a user or a password; write {parts.scheme}://{address}{parts.path}, and the "
            "key as api_key_env or api_key_file"
        )
    if parts.fragment:
        raise ValueError("holds a #; leave out what begins with it")


def path_and_query(base_url: str) -> tuple[str, dict[str, str]]:
    """Return `base_url` without its query string, and the query's parameters."""
    parts = urlsplit(base_url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return parts._replace(query="").geturl(), query


def shown(base_url: str) -> str:
    """Return `base_url` as it may be shown: a query string may hold a key."""
    return path_and_query(base_url)[0]


def host_of(base_url: str) -> str:
    """Return the host of `base_url`, an IPv6 address without its brackets."""
    return urlsplit(base_url).hostname or ""


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
