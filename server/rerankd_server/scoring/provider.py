"""A provider: one OpenAI-compatible endpoint. The only place that knows the openai SDK.

`complete` sends one prompt, tries again where that can help, and turns what goes wrong into our
errors. A provider's own words never leave this file: they may quote the key or the document.
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import structlog

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
from rerankd_server.scoring.dispatcher import Allowance, Dispatcher, Line, Turn
from rerankd_server.scoring.parameters import Learnt, Parameters, unwelcome
from rerankd_server.scoring.retrying import PassingError

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"
"""OpenAI's own endpoint."""

_log = structlog.get_logger()

_NO_KEY = "none"
"""Sent where no key is set: local servers ask for none, and the SDK insists on one."""
_DECLINED = ("content_filter", "content_policy_violation")
"""Codes of errors that are an answer: the provider will not let the model see this document."""
_LONGEST_RETRY_AFTER = 600.0
"""Seconds: a provider that asks for more is asked again after this."""
_BYTES_A_TOKEN = 4
"""About: English in today's vocabularies. The reply says how many it was."""
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What comes of reading a reply that is no chat completion."""
_CODE = re.compile(r"[a-z_]{1,48}")
"""Error codes that may be shown: too plain to hold a key or a text."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how it is asked."""

    base_url: str | None = None
    """None means OpenAI's own."""
    api_key: str | None = None
    timeout: float = 30.0
    """Seconds for one attempt."""
    attempts: int = 3
    """Most calls for one prompt, the first included; at least 1."""


@dataclass(slots=True)
class Errand:
    """One prompt on its way to a model."""

    system: str
    user: str
    wanted: Callable[[], bool]
    """Whether it is worth sending still."""
    claim: Callable[[], bool]
    """Asked right before each call; where it says False, none is sent any more."""
    line: Line
    """Where it waits for its turn."""
    calls: int = 0
    """Calls sent so far, the failed ones too."""
    parameters: Parameters | None = None
    """What is sent along, where this prompt saw some of it refused."""

    @property
    def tokens(self) -> float:
        """About how many tokens its prompt has."""
        return (len(self.system.encode()) + len(self.user.encode())) / _BYTES_A_TOKEN


class Provider:
    """One endpoint, shared by everything that asks it, within `allowance`."""

    def __init__(
        self, endpoint: Endpoint, allowance: Allowance | None = None, clock: Clock | None = None
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock or Clock()
        self._dispatcher = Dispatcher(allowance or Allowance(), self._clock)
        self._loading: asyncio.Task[openai.AsyncOpenAI] | None = None

    @property
    def condition(self) -> Condition:
        """Whether the provider is asked at all, or given up on for now."""
        return self._dispatcher.condition

    async def warm_up(self) -> "openai.AsyncOpenAI":
        """Load the SDK, which takes most of a second, in a thread of its own; gives its client."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load_client, self._endpoint))
        return await asyncio.shield(self._loading)

    async def close(self) -> None:
        """Close the connections."""
        if self._loading is None:
            return
        await asyncio.wait({self._loading})
        if self._loading.exception() is None:
            await self._loading.result().close()

    async def complete(self, model: str, errand: Errand, learnt: Learnt) -> Reply | None:
        """Send `errand` to `model` and give its reply, or None where it is wanted no more.

        Sends the parameters that `learnt` holds and teaches it what the model refuses. Raises
        ProviderError after the last attempt.
        """
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(model, errand, learnt)
            except PassingError as error:
                if attempts == self._endpoint.attempts:
                    raise error.final(attempts) from None
                pause = error.pause(attempts)
            await self._clock.sleep(pause)

    async def _attempt(self, model: str, errand: Errand, learnt: Learnt) -> Reply | None:
        """Send once, and again for each parameter that the model turns out not to take."""
        while True:
            sent = learnt.current if errand.parameters is None else errand.parameters
            try:
                reply = await self._send(model, errand, sent)
            except _UnwelcomeError as error:
                less = sent.without(error.name).least(learnt.current)
                if less == sent:
                    raise error.rejected from None
                errand.parameters = less
            else:
                if reply is not None and learnt.answered(sent):
                    _log.warning("the model takes fewer parameters", model=model, now=str(sent))
                return reply

    async def _send(self, model: str, errand: Errand, sent: Parameters) -> Reply | None:
        """Send one call when its turn comes, and tell the dispatcher what became of it."""
        client = await self.warm_up()
        async with self._dispatcher.turn(
            errand.line, errand.wanted, errand.claim, errand.tokens
        ) as turn:
            if turn is None:
                return None
            errand.calls += 1
            try:
                reply = await self._call(client, model, errand, sent, turn)
            except (PassingError, KeyRejectedError, QuotaSpentError) as error:
                self._dispatcher.failed(turn, error)
                raise
            except (_UnwelcomeError, ProviderError):
                self._dispatcher.answered(turn)  # it refuses this call alone
                raise
            self._dispatcher.answered(turn, reply.prompt_tokens + reply.completion_tokens)
            return reply

    async def _call(
        self,
        client: "openai.AsyncOpenAI",
        model: str,
        errand: Errand,
        sent: Parameters,
        turn: Turn,
    ) -> Reply:
        import httpx2  # noqa: PLC0415  # loaded by now
        import openai  # noqa: PLC0415

        body = {
            "model": model,
            "messages": [
                {"role": "system", "content": errand.system},
                {"role": "user", "content": errand.user},
            ],
            **_arguments(sent),
        }
        try:
            # The SDK's own time-out starts anew with every byte. Its typed methods would take half
            # as much time again, for checking a request and a reply that we check ourselves.
            async with asyncio.timeout(self._endpoint.timeout):
                response = await client.post(
                    "/chat/completions", body=body, cast_to=httpx2.Response
                )
            self._dispatcher.heard(turn, response.headers)
            return to_reply(response.json())
        except openai.APIStatusError as error:
            self._dispatcher.heard(turn, error.response.headers)
            if _plain(error.code) in _DECLINED:
                return Reply(text="", finish="content_filter")
            raise _translate_status(error) from None
        except (openai.APIConnectionError, TimeoutError):
            # The SDK's transport calls refused and broken connections time-outs as well.
            what = (
                "gives no answer: it cannot be reached, breaks off, or takes more than "
                f"{self._endpoint.timeout:g} s"
            )
        except (openai.APIError, *_UNREADABLE):
            what = "sends replies that are not chat completions"
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            what = "gives no answer: its connection was given up"  # by the transport, not by us
        raise PassingError(what, rate_limited=False)


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


def _load_client(endpoint: Endpoint) -> "openai.AsyncOpenAI":
    """Import the SDK and build its client. The SDK's own retries are off: ours are counted."""
    import openai  # noqa: PLC0415  # slow

    logging.getLogger("openai").setLevel(logging.CRITICAL)  # at debug level it logs prompts
    return openai.AsyncOpenAI(
        api_key=endpoint.api_key or _NO_KEY,
        base_url=endpoint.base_url or OPENAI,  # None would have the SDK read its own variable
        timeout=endpoint.timeout,
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(timeout=endpoint.timeout),
    )


def _arguments(sent: Parameters) -> Mapping[str, Any]:
    arguments: dict[str, Any] = {}
    if sent.temperature is not None:
        arguments["temperature"] = sent.temperature
    if sent.max_tokens is not None:
        arguments["max_tokens"] = sent.max_tokens
    if sent.top_logprobs is not None:
        arguments["logprobs"] = True
        arguments["top_logprobs"] = sent.top_logprobs
    return arguments


def _translate_status(error: "openai.APIStatusError") -> Exception:
    """Turn an error status into a passing error, an unwelcome parameter, or a final error."""
    status = error.status_code
    codes = [_plain(error.code), _plain(error.type)]
    code = next((each for each in codes if _CODE.fullmatch(each)), None)
    what = f"answers {status} {code}" if code else f"answers {status}"
    if status in (400, 403, 422) and (name := unwelcome(_plain(error.param), error.message)):
        return _UnwelcomeError(
            name, RequestRejectedError(f"the model's provider {what} to `{name}`, sent or not")
        )
    if status == 401:
        return KeyRejectedError(
            f"the model's provider {what}: it refuses the key; check OPENAI_API_KEY on the server"
        )
    if status == 402 or "insufficient_quota" in codes:
        return QuotaSpentError(
            f"the model's provider {what}: the account's quota is spent; add credit there"
        )
    if status in (408, 409, 429) or status >= 500:
        return PassingError(
            what,
            rate_limited=status == 429,
            retry_after=_retry_after(error.response.headers),
        )
    return RequestRejectedError(
        f"the model's provider {what}: it refuses the call; check `model` and `base_url` on the "
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
