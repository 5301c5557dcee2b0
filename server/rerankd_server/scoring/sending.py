"""One model of one provider: sends a call when its turn comes, and reads what comes back.

A provider's own words never leave this package: they may quote the key or the document.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import structlog

from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    QuotaSpentError,
    RequestRejectedError,
)
from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.completion import finish_reason, to_reply
from rerankd_server.scoring.dispatcher import Dispatcher, Line, Turn
from rerankd_server.scoring.embedding import Embeddings, to_embeddings
from rerankd_server.scoring.error_kinds import DeclinedError, RefusedCallError, error_of
from rerankd_server.scoring.error_report import CODE, error_in, read_report, report_of
from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.http_client import HttpClient, TransportError
from rerankd_server.scoring.learning import Learnt
from rerankd_server.scoring.parameters import LEAST, OURS, Parameters, Takes
from rerankd_server.scoring.reply_size import TooLargeError
from rerankd_server.scoring.retrying import PassingError
from rerankd_server.scoring.scorer import CallsSent

_log = structlog.get_logger()

_LARGE = 256 << 10
"""Bytes: to read a longer reply takes so long that all other calls would wait."""
_LONG_PROMPT = 8_000
"""Bytes of a prompt that some servers have no room for."""
_MOST_BYTES_A_TOKEN = 12
"""A prompt that took fewer tokens than this tells was not read whole."""
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What comes of reading a reply that is not what was asked for."""


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
    sent: CallsSent = field(default_factory=CallsSent)
    """Of the request that it is for."""
    calls: int = 0
    """Calls sent so far, the failed ones too."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """What all replies to it took, those that were no answer too."""
    takes: Takes = field(default_factory=Takes)
    """What the model takes, as far as this call saw some of it refused."""
    is_divisible: Callable[[], bool] = lambda: False
    """Whether the call is about several texts, of which one may be what the server fails at."""


R = TypeVar("R", Reply, Embeddings)


@dataclass(frozen=True, slots=True)
class Service(Generic[R]):
    """One thing that providers do."""

    path: str
    read: Callable[[Any], R]
    """Reads a reply, decoded JSON; raises one of `_UNREADABLE` where it is another's."""
    name: str
    declined: R | None = None
    """What an error comes to that says that the model may not see this."""


CHAT = Service(
    "/chat/completions",
    to_reply,
    "chat completions",
    declined=Reply(text="", finish=Finish.DECLINED),
)
EMBEDDINGS = Service("/embeddings", to_embeddings, "embeddings")


class TryLessError(Exception):
    """The model refuses something that can be given up: `takes` is what it may take."""

    def __init__(self, takes: Takes) -> None:
        super().__init__()
        self.takes = takes


class Sender:
    """Sends calls to the model `name` as `dispatcher` gives turns; `learnt` notes what is new."""

    def __init__(
        self, name: str, client: HttpClient, dispatcher: Dispatcher, learnt: Learnt
    ) -> None:
        self.name = name
        self._client = client
        self.dispatcher = dispatcher
        self._learnt = learnt

    async def send(
        self, service: Service[R], errand: Errand, takes: Takes, wish: Parameters
    ) -> R | None:
        """Send one call of what the model `takes` of `wish`; None where it is wanted no more.

        Raises TryLessError where the model refuses something that can be given up, a
        RefusedCallError where it refuses the call and says no reason, a PassingError where another
        attempt may do better, and any other ProviderError.
        """
        await self._client.load()
        dispatcher, spent = self.dispatcher, self._learnt.spent
        async with dispatcher.turn(errand.line, errand.wanted, errand.claim, errand.tokens) as turn:
            if turn is None:
                return None
            errand.calls += 1
            errand.sent.count += 1
            spent.calls += 1
            body = takes.applied(wish).body(self.name, errand.write())
            try:
                reply = await self._call(service, turn, body)
            except (PassingError, ProviderError, RefusedCallError) as error:
                raise self._failed(turn, error, takes, wish) from None
            if reply is None:
                dispatcher.answered(turn)
                return service.declined
            dispatcher.answered(turn, reply.prompt_tokens + reply.completion_tokens)
            for each in (errand, spent):
                each.prompt_tokens += reply.prompt_tokens
                each.completion_tokens += reply.completion_tokens
            self._look_at_prompt(body, reply.prompt_tokens)
            return reply

    def _failed(
        self,
        turn: Turn,
        error: PassingError | ProviderError | RefusedCallError,
        takes: Takes,
        wish: Parameters,
    ) -> Exception:
        """Tell the dispatcher what became of a call, and return what that comes to."""
        comes_to: Exception = error
        if isinstance(error, RefusedCallError):
            if less := _less(takes, wish, error.parameters):
                comes_to = TryLessError(less)
            elif not error.may_be_bare or LEAST.applied(wish) == takes.applied(wish):
                comes_to = error.otherwise
        if isinstance(comes_to, PassingError | KeyRejectedError | QuotaSpentError):
            self.dispatcher.failed(turn, comes_to)
        else:
            self.dispatcher.refused(turn)  # it refuses this call alone
        return comes_to

    async def _call(self, service: Service[R], turn: Turn, body: Mapping[str, Any]) -> R | None:
        """Send one call; None where the provider declines. Raises what an error means."""
        who, key_from = self._client.endpoint.who, self._client.endpoint.key_from
        try:
            response = await self._client.post(service.path, body)
        except TransportError as error:
            raise PassingError(str(error), who=who) from None
        except TooLargeError as error:  # and would be again: it is not paid for twice
            raise RequestRejectedError(f"{who} {error}") from None
        self.dispatcher.heard(turn, response.headers)
        if 200 <= response.status < 300:
            try:
                if len(response.content) > _LARGE:
                    decoded, read = await asyncio.to_thread(_decode, service, response.content)
                else:
                    decoded, read = _decode(service, response.content)
            except _UNREADABLE:
                what = f"sends replies that are not {service.name}"
                raise PassingError(what, who=who) from None
            if read is not None:
                return self._looked_at(read, decoded, body)
            report = report_of(response.status, response.headers, decoded)
        else:
            report = read_report(response.status, response.headers, response.content)
        own = [name for name in body if name not in OURS]
        sent = "\n".join((*_texts(body), *self._client.endpoint.secrets))
        meaning = error_of(report, sent, who, key_from, own)
        if not isinstance(meaning, DeclinedError):
            raise meaning
        if service.declined is None:
            raise meaning.rejected
        return None

    def _looked_at(self, read: R, decoded: object, body: Mapping[str, Any]) -> R:
        """Note the finish reason of a completion, and say once that it is unknown.

        Raises PassingError where it says an error.
        """
        if not isinstance(read, Reply):
            return read
        learnt, who = self._learnt, self._client.endpoint.who
        learnt.finish = finish_reason(decoded)
        if read.finish is Finish.FAILED:
            raise PassingError("fails in the middle of its answers", who=who)
        if read.finish is Finish.UNKNOWN and learnt.first_time("finish"):
            word = learnt.finish.lower()
            _log.warning(
                "the provider says no finish reason that is known: replies count as whole",
                provider=who,
                finish=word if CODE.fullmatch(word) else "",
            )
        if read.finish is Finish.CUT_OFF:
            return replace(read, limit=body.get("max_tokens"))
        return read

    def _look_at_prompt(self, body: Mapping[str, Any], tokens: int) -> None:
        """Say once that the provider plainly does not read whole prompts."""
        size = sum(len(message["content"].encode()) for message in body.get("messages", ()))
        is_cut = 0 < tokens * _MOST_BYTES_A_TOKEN < size > _LONG_PROMPT
        if is_cut and self._learnt.first_time("cut"):
            _log.warning(
                "the provider cuts prompts: give the model a larger context there, or set "
                "max_document_chars",
                model=self.name,
                bytes_sent=size,
                tokens_read=tokens,
            )


def _less(takes: Takes, wish: Parameters, names: Iterable[str]) -> Takes | None:
    """Return `takes` without the first of the parameters `names` that is sent; None without one."""
    for name in names:
        less = takes.without(name)
        if less.applied(wish) != takes.applied(wish):
            return less
    return None


def _decode(service: Service[R], content: bytes) -> tuple[object, R | None]:
    """Return the decoded reply, and what it says; where that is an error, it and None.

    Raises one of `_UNREADABLE` where it is another's.
    """
    decoded = json.loads(content)
    error = error_in(decoded)
    return (decoded, service.read(decoded)) if error is None else (error, None)


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield all that a call says in words: an error may quote it."""
    for message in body.get("messages", ()):
        yield message["content"]
    yield from body.get("input", ())
