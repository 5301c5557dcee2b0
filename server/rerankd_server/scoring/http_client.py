"""The HTTP client of one provider. The only place that knows the openai SDK.

It gives what came as it came, status and bytes; what that means is said elsewhere. Whatever goes
wrong on the way is a TransportError, never a defect of ours.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankd_server.background import Background
from rerankd_server.logs import log_defect
from rerankd_server.scoring.base_url import path_and_query, shown
from rerankd_server.scoring.key_file import KeyFile
from rerankd_server.scoring.proxy import proxy_for
from rerankd_server.scoring.reply_size import MOST, TooLargeError, most_bytes
from rerankd_server.scoring.retrying import THE_PROVIDER

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"
"""OpenAI's own endpoint."""

_KEY_REFUSED = 401
"""HTTP's status."""
_NO_KEY = "none"
"""Sent where no key is set: local servers ask for none, and the SDK insists on one."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how it is asked."""

    base_url: str | None = None
    """None means OpenAI's own."""
    api_key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    """Where the key is from, and another one may come from later."""
    key_header: str = ""
    """The header that carries the key as it is; empty for `Authorization: Bearer`."""
    ca_file: Path | None = None
    """Certificates, in PEM, that are trusted instead of the system's."""
    timeout: float = 30.0
    """Seconds for one attempt."""
    attempts: int = 3
    """Most calls for one prompt, the first included; at least 1."""
    max_reply_bytes: int | None = None
    """Most bytes of a reply, unpacked; None for what fits the call."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every call; they may hold a key, too."""
    who: str = THE_PROVIDER
    """What it is called in messages."""
    key_from: str = "OPENAI_API_KEY"
    """Where the key was found, for messages."""

    @property
    def address(self) -> str:
        """Where it is, as messages may show it."""
        return shown(self.base_url or OPENAI)

    @property
    def secrets(self) -> Sequence[str]:
        """What is sent with every call and may be a key."""
        return [value for value in (self.api_key, *self.headers.values()) if value]


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class TransportError(Exception):
    """No whole reply came; `what` the provider does, in our own words."""


class HttpClient:
    """Sends calls to `endpoint`; what it costs to read replies is spent in `background`."""

    def __init__(self, endpoint: Endpoint, background: Background) -> None:
        self.endpoint = endpoint
        self._background = background
        self._loading: asyncio.Task[openai.AsyncOpenAI] | None = None
        self._options: Any = {}
        """Of each call."""
        self._key_file = KeyFile(endpoint.key_file, endpoint.api_key) if endpoint.key_file else None

    async def load(self) -> "openai.AsyncOpenAI":
        """Load the SDK, which takes most of a second, in a thread of its own; gives its client."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load))
        return await asyncio.shield(self._loading)

    async def close(self) -> None:
        """Close the connections."""
        if self._loading is None:
            return
        await asyncio.wait({self._loading})
        if self._loading.exception() is None:
            await self._loading.result().close()

    async def post(self, path: str, body: Mapping[str, Any]) -> Response:
        """Send `body` to `path` and return the reply, whatever its status; of an error, a part.

        It is sent again where the key is refused, and its file holds another one by now. Raises
        TransportError where no whole reply comes in time, and TooLargeError where it is larger than
        it may be.
        """
        await self._look_at_key()
        response = await self._post(path, body)
        if response.status == _KEY_REFUSED and await self._look_at_key(for_sure=True):
            response = await self._post(path, body)
        return response

    async def _look_at_key(self, *, for_sure: bool = False) -> bool:
        """Take the key that its file holds by now. Returns whether that is another one."""
        key = self._key_file and self._key_file.changed(for_sure=for_sure)
        if not key:
            return False
        self.endpoint = replace(self.endpoint, api_key=key)
        self._use(await self.load(), key)
        return True

    def _use(self, client: "openai.AsyncOpenAI", key: str) -> None:
        """Have all calls bear `key`."""
        client.api_key = key
        if header := self.endpoint.key_header:
            self._options = {"headers": {**self._options["headers"], header: key}}

    async def _post(self, path: str, body: Mapping[str, Any]) -> Response:
        import httpx2  # noqa: PLC0415  # slow; loaded by now
        import openai  # noqa: PLC0415

        client, endpoint = await self.load(), self.endpoint
        MOST.set(endpoint.max_reply_bytes or most_bytes(body))
        try:
            # The SDK's own time-out starts anew with every byte. Its typed methods would take half
            # as much time again, for checking a request and a reply that we check ourselves.
            async with asyncio.timeout(endpoint.timeout):
                reply = await client.post(
                    path, body=body, cast_to=httpx2.Response, options=self._options
                )
        except openai.APIStatusError as error:
            reply = error.response
        except TooLargeError:
            raise
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            # By the transport, not by us.
            what = f"gives no answer: the connection to {endpoint.address} was given up"
            raise TransportError(what) from error
        except Exception as error:  # noqa: BLE001  # the transport raises all sorts of things
            raise self._told(error) from None
        return Response(reply.status_code, reply.headers, reply.content)

    def _told(self, error: Exception) -> TransportError:
        """Return what `error` says the provider does."""
        from rerankd_server.scoring.transport_errors import describe, is_known  # noqa: PLC0415

        if not is_known(error):
            log_defect(error)  # it fails the provider all the same, but may be ours
        return TransportError(describe(error, self.endpoint.address, self.endpoint.timeout))

    def _load(self) -> "openai.AsyncOpenAI":
        """Import the SDK and build its client. The SDK's own retries are off: ours are counted."""
        import httpx2  # noqa: PLC0415  # slow
        import openai  # noqa: PLC0415

        from rerankd_server.scoring.transport import Transport  # noqa: PLC0415
        from rerankd_server.scoring.unpacking import ACCEPTED  # noqa: PLC0415

        endpoint = self.endpoint
        logging.getLogger("openai").setLevel(logging.CRITICAL)  # at debug level it logs prompts
        # None would have the SDK read its own variable.
        base_url, query = path_and_query(endpoint.base_url or OPENAI)
        key, headers = endpoint.api_key or _NO_KEY, dict[str, Any](endpoint.headers)
        if endpoint.key_header:
            headers = {endpoint.key_header: key, **headers}
            self._options = {"headers": {"Authorization": openai.Omit()}}
        certificates = (
            ssl.create_default_context(cafile=endpoint.ca_file)
            if endpoint.ca_file
            else httpx2.create_ssl_context()
        )
        return openai.AsyncOpenAI(
            api_key=key,
            base_url=base_url,
            timeout=endpoint.timeout,
            max_retries=0,
            default_headers=headers,
            default_query=query,
            http_client=httpx2.AsyncClient(
                # Replies that come together are read one by one.
                transport=Transport(certificates, proxy_for(base_url), self._background.turn),
                headers={"Accept-Encoding": ACCEPTED},
                # A redirect would take the texts, and maybe the key, to another host.
                follow_redirects=False,
                timeout=None,
            ),
        )


def _is_cancelled() -> bool:
    """Return whether somebody has asked this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
