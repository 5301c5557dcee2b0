"""A provider: one OpenAI-compatible endpoint, and what its models are asked.

`complete` and `embed` send one call, try again where that can help, and learn what a model takes.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from rerankd_server.background import Background
from rerankd_server.clock import Clock
from rerankd_server.condition import Condition
from rerankd_server.errors import ProviderError, RequestRejectedError
from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.dispatcher import Allowance, Dispatcher
from rerankd_server.scoring.embedding import Embeddings
from rerankd_server.scoring.error_kinds import RefusedCallError
from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.http_client import Endpoint, HttpClient
from rerankd_server.scoring.learning import Learnt
from rerankd_server.scoring.parameters import EMBEDDING, LEAST, ROOM_TO_THINK, Parameters, Takes
from rerankd_server.scoring.retrying import PassingError
from rerankd_server.scoring.sending import (
    CHAT,
    EMBEDDINGS,
    Errand,
    Sender,
    Service,
    TryLessError,
)

_log = structlog.get_logger()

BYTES_A_TOKEN = 4
"""About: English in today's vocabularies. The reply says how many it was."""
FAILS = 500
"""HTTP's status of a server that fails at what it was sent."""

R = TypeVar("R", Reply, Embeddings)


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
        self.endpoint = endpoint
        self._allowance = allowance or Allowance()
        self.clock = clock or Clock()
        self._senders: dict[str, Sender] = {}
        self.client = HttpClient(endpoint, self._background)
        self.models: dict[str, Learnt] = {}
        """What is known of each model that was asked, and what it has cost."""

    async def warm_up(self) -> None:
        """Load what takes most of a second to load."""
        await self.client.load()

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def complete(self, model: str, errand: Errand, wish: Parameters) -> Reply | None:
        """Send `errand` to `model` and return its reply, or None where it is wanted no more.

        Sends what the model takes of `wish`, and learns what it refuses. Raises ProviderError after
        the last attempt.
        """
        return await self._ask(CHAT, model, errand, wish)

    async def embed(self, model: str, errand: Errand) -> Embeddings | None:
        """Send `errand` to the embeddings `model` and return its reply, in the same way."""
        return await self._ask(EMBEDDINGS, model, errand, EMBEDDING)

    def learnt(self, model: str) -> Learnt:
        """Return what is known of `model`."""
        if model not in self.models:
            self.models[model] = Learnt(self.clock)
        return self.models[model]

    async def _ask(
        self, service: Service[R], model: str, errand: Errand, wish: Parameters
    ) -> R | None:
        """Send until there is an answer, or no attempt is left."""
        job = _Job(service, self.sender(model), self.learnt(model), errand, wish)
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(job)
            except PassingError as error:
                is_of_one = error.status == FAILS and errand.is_divisible()
                if is_of_one or attempts == self.endpoint.attempts:
                    raise error.final(attempts) from None
                pause = error.pause(attempts)
            await self.clock.sleep(pause)

    async def _attempt(self, job: "_Job[R]", *, finds_out: bool = False) -> R | None:
        """Send once, and again for whatever the model turns out to take or to need.

        One call at a time finds out what it takes; the others wait, and learn from that.
        """
        takes = job.takes
        try:
            reply = await job.send(takes)
        except TryLessError as error:
            async with nullcontext() if finds_out else job.learnt.form:
                if job.takes == takes:
                    job.errand.takes = error.takes
                    return await self._attempt(job, finds_out=True)
            return await self._attempt(job)
        except RefusedCallError as error:
            return await self._after_refusal(job, takes, error, finds_out=finds_out)
        if reply is None or reply == job.service.declined:
            return reply
        job.note(takes)
        if not _needs_room(reply, takes.applied(job.wish)):
            return reply
        return await self._after_cut_off(job, takes, reply, finds_out=finds_out)

    async def _after_refusal(
        self, job: "_Job[R]", takes: Takes, refusal: RefusedCallError, *, finds_out: bool
    ) -> R | None:
        """Try the least that can be sent, after a `refusal` that names no reason."""
        learnt = job.learnt
        learnt.refused_in_a_row += 1
        async with learnt.bare.turn() as may_try:
            if job.takes == takes:
                if not may_try or not learnt.form_may_be_wrong:
                    raise refusal.otherwise from None
                try:
                    reply = await job.send(LEAST)
                except (RefusedCallError, RequestRejectedError):
                    learnt.bare.ended(in_vain=True)
                    raise refusal.otherwise from None
                if reply is not None and reply != job.service.declined:
                    learnt.bare.ended(in_vain=False)
                    job.note(LEAST)
                return reply
        return await self._attempt(job, finds_out=finds_out)

    async def _after_cut_off(
        self, job: "_Job[R]", takes: Takes, cut_off: R, *, finds_out: bool
    ) -> R | None:
        """Try with room to think, after a reply that was `cut_off` before its answer."""
        learnt = job.learnt
        async with learnt.room.turn() as may_try:
            if job.takes == takes:
                if not may_try:
                    return cut_off
                roomy = takes.with_room()
                try:
                    reply = await job.send(roomy)
                except (TryLessError, RefusedCallError, PassingError, ProviderError):
                    learnt.room.ended(in_vain=True)
                    return cut_off
                if reply is not None:
                    learnt.room.ended(in_vain=_is_cut_off(reply))
                    if not _is_cut_off(reply):
                        job.note(roomy)
                return reply
        return await self._attempt(job, finds_out=finds_out)

    def sender(self, model: str) -> Sender:
        """Return what sends calls to `model`."""
        if model not in self._senders:
            dispatcher = Dispatcher(
                self._allowance,
                self.clock,
                self.condition,
                f"calls to {model} at {self.endpoint.who}",
                self.endpoint.who,
                self._background,
            )
            self._senders[model] = Sender(model, self.client, dispatcher, self.learnt(model))
        return self._senders[model]


@dataclass(frozen=True, slots=True)
class _Job(Generic[R]):
    """One errand to one model, over all its attempts."""

    service: Service[R]
    sender: Sender
    learnt: Learnt
    errand: Errand
    wish: Parameters

    @property
    def takes(self) -> Takes:
        """What the model takes, as far as is known by now."""
        return self.errand.takes.both(self.learnt.takes)

    async def send(self, takes: Takes) -> R | None:
        """Send one call; see `Sender.send`."""
        return await self.sender.send(self.service, self.errand, takes, self.wish)

    def note(self, takes: Takes) -> None:
        """Note that the model answered a call of this form, and say so where that is new."""
        before = self.learnt.takes
        if self.learnt.answered(takes):
            gets_room = before.least_limit < ROOM_TO_THINK <= takes.least_limit
            _log.warning(
                "the model thinks first: it gets more tokens"
                if gets_room
                else "the model takes fewer parameters",
                model=self.sender.name,
                now=str(self.learnt.takes),
            )


def _is_cut_off(reply: Reply | Embeddings) -> bool:
    return isinstance(reply, Reply) and reply.finish is Finish.CUT_OFF


def _needs_room(reply: Reply | Embeddings, sent: Parameters) -> bool:
    """Return whether the model was cut off while it thought, and a larger limit may help."""
    if not isinstance(reply, Reply) or not reply.needs_room:
        return False
    return sent.max_tokens is not None and sent.max_tokens < ROOM_TO_THINK
