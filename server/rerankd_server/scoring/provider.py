"""A provider: one OpenAI-compatible endpoint. The only place that knows the openai SDK.

`complete` and `embed` send one call, try again where that can help, and turn what goes wrong into
our errors. A provider's own words never leave this file: they may quote the key or the document.
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from rerankd_server.background import Background
from rerankd_server.clock import Clock
from rerankd_server.condition import Condition
from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    QuotaSpentError,
    RequestRejectedError,
)
from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.completion import to_reply
from rerankd_server.scoring.dispatcher import Allowance, Dispatcher, Line
from rerankd_server.scoring.embedding import Embeddings, to_embeddings
from rerankd_server.scoring.parameters import NO_PARAMETERS, Learnt, Parameters, unwelcome
from rerankd_server.scoring.retrying import THE_PROVIDER, PassingError

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"
"""OpenAI's own endpoint."""

_log = structlog.get_logger()

_NO_KEY = "none"
"""Sent where no key is set: local servers ask for none, and the SDK insists on one."""
_DECLINED = ("content_filter", "content_policy_violation")
"""Codes of errors that are an answer: the provider will not let the model see this document."""
_LARGE = 256 << 10
"""Bytes: to read a longer reply takes so long that all other calls would wait."""
_LONGEST_RETRY_AFTER = 600.0
"""Seconds: a provider that asks for more is asked again after this."""
BYTES_A_TOKEN = 4
"""About: English in today's vocabularies. The reply says how many it was."""
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What comes of reading a reply that is not what was asked for."""
_CODE = re.compile(r"[a-z_]{1,48}")
"""Error codes that may be shown: too plain to hold a key or a text."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how it is asked."""

    base_url: str | None = None
    """None means OpenAI's own."""
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    """Seconds for one attempt."""
    attempts: int = 3
    """Most calls for one prompt, the first included; at least 1."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every call; they may hold a key, too."""
    who: str = THE_PROVIDER
    """What it is called in messages."""
    key_from: str = "OPENAI_API_KEY"
    """Where the key was found, for messages."""


@dataclass(slots=True)
class Errand:
    """One call on its way to a model."""

    write: Callable[[], Mapping[str, Any]]
    """Gives the body, without model and parameters; asked after `claim`, for each call anew."""
    wanted: Callable[[], bool]
    """Whether it is worth sending still."""
    claim: Callable[[], bool]
    """Asked right before each call; where it says False, none is sent any more."""
    line: Line
    """Where it waits for its turn."""
    tokens: float
    """About how many tokens its prompt has."""
    calls: int = 0
    """Calls sent so far, the failed ones too."""
    parameters: Parameters | None = None
    """What is sent along, where this call saw some of it refused."""


R = TypeVar("R", Reply, Embeddings)


@dataclass(frozen=True, slots=True)
class _Service(Generic[R]):
    """One thing that providers do."""

    path: str
    read: Callable[[Any], R]
    """Reads a reply, decoded JSON; raises one of `_UNREADABLE` where it is another's."""
    name: str
    declined: R | None = None
    """What an error comes to that says that the model may not see this."""


_CHAT = _Service(
    "/chat/completions",
    to_reply,
    "chat completions",
    declined=Reply(text="", finish="content_filter"),
)
_EMBEDDINGS = _Service("/embeddings", to_embeddings, "embeddings")


class Provider:
    """One endpoint, shared by everything that asks it.

    Each of its models is asked within `allowance`: providers' own limits are a model's, and so are
    their failures. `condition` tells whether some model is given up on for now. What calls cost
    here, when they are sent and when their replies are read, is spent in `background`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        allowance: Allowance | None = None,
        clock: Clock | None = None,
        condition: Condition | None = None,
        background: Background | None = None,
    ) -> None:
        self.condition = condition or Condition("provider")
        self._background = background or Background()
        self._endpoint = endpoint
        self._allowance = allowance or Allowance()
        self._clock = clock or Clock()
        self._dispatchers: dict[str, Dispatcher] = {}
        self._loading: asyncio.Task[openai.AsyncOpenAI] | None = None

    async def warm_up(self) -> "openai.AsyncOpenAI":
        """Load the SDK, which takes most of a second, in a thread of its own; gives its client."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load_client))
        return await asyncio.shield(self._loading)

    async def close(self) -> None:
        """Close the connections."""
        if self._loading is None:
            return
        await asyncio.wait({self._loading})
        if self._loading.exception() is None:
            await self._loading.result().close()

    def _load_client(self) -> "openai.AsyncOpenAI":
        """Import the SDK and build its client. The SDK's own retries are off: ours are counted."""
        import openai  # noqa: PLC0415  # slow

        async def turn(_: object) -> None:
            await self._background.turn()

        endpoint = self._endpoint
        logging.getLogger("openai").setLevel(logging.CRITICAL)  # at debug level it logs prompts
        return openai.AsyncOpenAI(
            api_key=endpoint.api_key or _NO_KEY,
            base_url=endpoint.base_url or OPENAI,  # None would have the SDK read its own variable
            timeout=endpoint.timeout,
            max_retries=0,
            default_headers=endpoint.headers,
            http_client=openai.DefaultAioHttpClient(
                timeout=endpoint.timeout,
                # Replies that come together are read one by one.
                event_hooks={"response": [turn]},
            ),
        )

    async def complete(self, model: str, errand: Errand, learnt: Learnt) -> Reply | None:
        """Send `errand` to `model` and give its reply, or None where it is wanted no more.

        Sends the parameters that `learnt` holds and teaches it what the model refuses. Raises
        ProviderError after the last attempt.
        """
        return await self._ask(_CHAT, model, errand, learnt)

    async def embed(self, model: str, errand: Errand) -> Embeddings | None:
        """Send `errand` to the embeddings `model` and give its reply, in the same way."""
        return await self._ask(_EMBEDDINGS, model, errand, Learnt(NO_PARAMETERS))

    async def _ask(
        self, service: _Service[R], model: str, errand: Errand, learnt: Learnt
    ) -> R | None:
        """Send until there is an answer, or no attempt is left."""
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(service, model, errand, learnt)
            except PassingError as error:
                if attempts == self._endpoint.attempts:
                    raise error.final(attempts) from None
                pause = error.pause(attempts)
            await self._clock.sleep(pause)

    async def _attempt(
        self, service: _Service[R], model: str, errand: Errand, learnt: Learnt
    ) -> R | None:
        """Send once, and again for each parameter that the model turns out not to take."""
        while True:
            sent = learnt.current if errand.parameters is None else errand.parameters
            try:
                reply = await self._send(service, model, errand, sent)
            except _UnwelcomeError as error:
                less = sent.without(error.name).least(learnt.current)
                if less == sent:
                    raise error.rejected from None
                errand.parameters = less
            else:
                if reply is not None and learnt.answered(sent):
                    _log.warning("the model takes fewer parameters", model=model, now=str(sent))
                return reply

    async def _send(
        self, service: _Service[R], model: str, errand: Errand, sent: Parameters
    ) -> R | None:
        """Send one call when its turn comes, and tell the dispatcher what became of it."""
        client = await self.warm_up()
        dispatcher = self._dispatcher(model)
        async with dispatcher.turn(errand.line, errand.wanted, errand.claim, errand.tokens) as turn:
            if turn is None:
                return None
            errand.calls += 1
            body = {"model": model, **errand.write(), **sent.arguments()}
            if not sent.structured:
                body.pop("response_format", None)
            try:
                reply = await self._call(client, service, body, partial(dispatcher.heard, turn))
            except (PassingError, KeyRejectedError, QuotaSpentError) as error:
                dispatcher.failed(turn, error)
                raise
            except (_UnwelcomeError, ProviderError):
                dispatcher.answered(turn)  # it refuses this call alone
                raise
            dispatcher.answered(turn, reply.prompt_tokens + reply.completion_tokens)
            return reply

    def _dispatcher(self, model: str) -> Dispatcher:
        if model not in self._dispatchers:
            self._dispatchers[model] = Dispatcher(
                self._allowance,
                self._clock,
                self.condition,
                f"calls to {model} at {self._endpoint.who}",
                self._endpoint.who,
                self._background,
            )
        return self._dispatchers[model]

    async def _call(
        self,
        client: "openai.AsyncOpenAI",
        service: _Service[R],
        body: Mapping[str, Any],
        heard: Callable[[Mapping[str, str]], None],
    ) -> R:
        import httpx2  # noqa: PLC0415  # loaded by now
        import openai  # noqa: PLC0415

        try:
            # The SDK's own time-out starts anew with every byte. Its typed methods would take half
            # as much time again, for checking a request and a reply that we check ourselves.
            async with asyncio.timeout(self._endpoint.timeout):
                response = await client.post(service.path, body=body, cast_to=httpx2.Response)
            heard(response.headers)
            if len(response.content) > _LARGE:
                return await asyncio.to_thread(lambda: service.read(response.json()))
            return service.read(response.json())
        except openai.APIStatusError as error:
            heard(error.response.headers)
            if _plain(error.code) in _DECLINED and service.declined is not None:
                return service.declined
            raise _translate_status(error, self._endpoint) from None
        except (openai.APIConnectionError, TimeoutError):
            # The SDK's transport calls refused and broken connections time-outs as well.
            what = (
                "gives no answer: it cannot be reached, breaks off, or takes more than "
                f"{self._endpoint.timeout:g} s"
            )
        except (openai.APIError, *_UNREADABLE):
            what = f"sends replies that are not {service.name}"
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            what = "gives no answer: its connection was given up"  # by the transport, not by us
        raise PassingError(what, rate_limited=False, who=self._endpoint.who)


class _UnwelcomeError(Exception):
    """The model does not take the parameter `name`; `rejected` is what it comes to otherwise."""

    def __init__(self, name: str, rejected: ProviderError) -> None:
        super().__init__(name)
        self.name = name
        self.rejected = rejected


def _is_cancelled() -> bool:
    """Whether somebody has asked this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _translate_status(error: "openai.APIStatusError", endpoint: Endpoint) -> Exception:
    """Turn an error status into a passing error, an unwelcome parameter, or a final error."""
    status = error.status_code
    codes = [_plain(error.code), _plain(error.type)]
    code = next((each for each in codes if _CODE.fullmatch(each)), None)
    what = f"answers {status} {code}" if code else f"answers {status}"
    if status in (400, 403, 422) and (name := unwelcome(_plain(error.param), error.message)):
        return _UnwelcomeError(
            name, RequestRejectedError(f"{endpoint.who} {what} to `{name}`, sent or not")
        )
    if status == 401:
        return KeyRejectedError(
            f"{endpoint.who} {what}: it refuses the key; check {endpoint.key_from} on the server"
        )
    if status == 402 or "insufficient_quota" in codes:
        return QuotaSpentError(
            f"{endpoint.who} {what}: the account's quota is spent; add credit there"
        )
    if status in (408, 409, 429) or status >= 500:
        return PassingError(
            what,
            rate_limited=status == 429,
            retry_after=_retry_after(error.response.headers),
            who=endpoint.who,
        )
    return RequestRejectedError(
        f"{endpoint.who} {what}: it refuses the call; check `model` and `base_url` on the "
        "server, what the key is allowed, and that the document is not too long for the model",
        stops_everything=status == 404,  # no such model, or no such address
    )


def _plain(value: object) -> str:
    """Give `value` where it is text; providers send all sorts of things."""
    return value if isinstance(value, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3), or OpenAI's milliseconds."""
    try:
        if text := headers.get("retry-after-ms"):
            seconds = float(text) / 1000
        elif not (text := headers.get("retry-after")):
            return None
        elif text.strip().replace(".", "", 1).isdigit():
            seconds = float(text)
        else:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None
