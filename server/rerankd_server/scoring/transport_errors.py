"""What keeps a call from being answered, in our own words.

The transport's exceptions wrap each other, and most say "time-out". Whatever is at the bottom of
them is told apart here; their own words may hold a URL's query, so none of them is repeated.
"""

import socket
import ssl
from collections.abc import Iterator

import aiohttp
import httpx2

from rerankd_server.scoring.call_ids import WrongReplyError
from rerankd_server.scoring.unpacking import UnpackError

_HOSTNAME_MISMATCH = (62, 64)
"""OpenSSL's codes of a certificate that is another host's, or another address's."""

_KINDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ssl.SSLCertVerificationError,), "{at}: its certificate is not trusted ({reason}); {fix}"),
    ((aiohttp.ClientHttpProxyError,), "{at}: the proxy answers {reason}"),
    (
        (aiohttp.ClientProxyConnectionError,),
        "{at}: the proxy does not answer; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    ),
    ((ssl.SSLError,), "{at}: it does not speak TLS as it should; is it http:// there?"),
    ((socket.gaierror,), "{at}: there is no such name"),
    ((ConnectionRefusedError,), "{at}: nothing listens there"),
    (
        (aiohttp.ClientResponseError, aiohttp.http_exceptions.HttpProcessingError),
        "gives no answer: what listens at {address} is no HTTP/1.1 server{scheme}",
    ),
    (
        (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionError),
        "gives no answer: {address} breaks off{scheme}",
    ),
    ((UnpackError,), "sends replies that cannot be decompressed, from {address}"),
    ((WrongReplyError,), "answers another call than the one that was sent, at {address}"),
    ((TimeoutError,), "gives no answer: {address} takes more than {timeout:g} s"),
)
"""What kinds of exceptions say, the most telling first."""

_KNOWN = (
    OSError,
    ValueError,
    httpx2.HTTPError,
    aiohttp.ClientError,
    aiohttp.http_exceptions.HttpProcessingError,
    UnpackError,
    WrongReplyError,
)


def describe(error: BaseException, address: str, timeout: float) -> str:
    """Return what the provider at `address` does, as seen in `error`: "cannot be reached ...".

    `timeout` is the seconds that one call may take.
    """
    causes = [*_causes(error)][::-1]  # the first one says most
    for kinds, what in _KINDS:
        for cause in causes:
            if isinstance(cause, kinds):
                return what.format(
                    at=f"cannot be reached at {address}",
                    address=address,
                    reason=getattr(cause, "verify_message", "") or getattr(cause, "status", ""),
                    fix=_certificate_fix(cause),
                    scheme="; is it https:// there?" if address.startswith("http://") else "",
                    timeout=timeout,
                )
    return f"cannot be reached at {address}, or breaks off"


def is_known(error: BaseException) -> bool:
    """Return whether `error` is of a kind that networks and servers are known to cause."""
    return any(isinstance(cause, _KNOWN) for cause in _causes(error))


def _certificate_fix(cause: BaseException) -> str:
    if getattr(cause, "verify_code", None) in _HOSTNAME_MISMATCH:
        return "write `base_url` with a name that the certificate is for"
    return "name the certificate of its issuer in `ca_file`, or in SSL_CERT_FILE"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and the exceptions that led to it."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, BaseException) or each in seen:
            continue
        seen.append(each)
        yield each
        inner = ("__cause__", "__context__", "os_error", "certificate_error")
        waiting.extend(getattr(each, name, None) for name in inner)
