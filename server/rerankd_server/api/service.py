"""The servicer: messages in, domain types through, messages out."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import structlog

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.admission import Admission
from rerankd_server.api.call import Call
from rerankd_server.api.familiar import Familiar, Known
from rerankd_server.api.intake import COPIES, LARGE, read_message
from rerankd_server.api.replies import Replies
from rerankd_server.api.status import Context
from rerankd_server.api.validation import Limits, documents_of, to_domain
from rerankd_server.api.writing import write
from rerankd_server.off_loop import MANY, OffLoop
from rerankd_server.reranker import Ranking, Reranker, RerankRequest
from rerankd_server.scoring.scorer import Usage

_DOCUMENT = 1_300
"""Bytes of memory that each of many documents takes beside its text, as measured."""
_UNCOUNTED = 64_000
"""Bytes of a request whose documents nobody has counted: they may be many."""
_LETTING_GO = 30e-6
"""Seconds to let go of a document that is still being scored: about twice what was measured."""


class RerankService:
    """`rerankd.v1.RerankService` over a Reranker.

    A call ends `margin` seconds before its deadline, and after `time_limit` seconds at the latest.
    `replies` and `familiar` know what was answered before, `epoch` gives the store's, and
    `make_way` is called for each call that waited for no model.
    """

    def __init__(
        self,
        reranker: Reranker,
        replies: Replies,
        familiar: Familiar,
        epoch: Callable[[], int],
        make_way: Callable[[], None],
        limits: Limits,
        margin: float,
        time_limit: float,
        *,
        off_loop: OffLoop,
        admission: Admission,
    ) -> None:
        self._reranker = reranker
        self._replies = replies
        self._familiar = familiar
        self._epoch = epoch
        self._make_way = make_way
        self._limits = limits
        self._margin = margin
        self._time_limit = time_limit
        self._off_loop = off_loop
        self._admission = admission
        self._log = structlog.get_logger().bind()

    # Written out rather than yielded: a generator that is left at a `yield` is closed by nobody.
    async def rerank(self, data: bytes, context: Context) -> None:
        """Stream rankings; see the proto."""
        call = Call(data, self._epoch())
        with ExitStack() as room:
            asked = await self._at_once(call, room)
            if isinstance(asked, bytes):
                await context.write(asked)
                return
            seconds = self._seconds(context, asked)
            async with aclosing(self._reranker.rerank(asked.request, seconds)) as rankings:
                async for each in rankings:
                    message = await self._written(asked, each)
                    if each.is_final:
                        message = self._final(asked, each, message)
                    await context.write(message)

    async def rerank_once(self, data: bytes, context: Context) -> bytes:
        """Give the final ranking; see the proto."""
        call = Call(data, self._epoch())
        with ExitStack() as room:
            asked = await self._at_once(call, room)
            if isinstance(asked, bytes):
                return asked
            request = replace(asked.request, partial_results=False)
            seconds = self._seconds(context, asked)
            async with aclosing(self._reranker.rerank(request, seconds)) as rankings:
                ranking = await anext(rankings)
                return self._final(asked, ranking, await self._written(asked, ranking))

    async def _at_once(self, call: Call, room: ExitStack) -> "bytes | _Question":
        """Return the answer, where all scores are in memory, or else what is asked.

        In `room` is what many documents take. Raises InvalidRequestError, UnknownModelError or
        ServerBusyError.
        """
        if reply := self._replies.find(call):
            self._tell(call, reply.model, reply.usage)
            return reply.message
        known = None if len(call.data) > LARGE else self._familiar.find(call)
        is_large = _is_large(call)
        if known is not None:
            answer = partial(self._reuse, known)
            ranking, message = await self._off_loop.run(answer) if is_large else answer()
            return self._answered(call, ranking, message)
        if is_large:
            # As far as is known before it is read: long documents are few.
            documents = len(call.view.documents) if call.view else self._limits.documents
            memory = _DOCUMENT * min(documents, self._limits.documents)
            memory += (COPIES - 1) * len(call.data)
            await self._admission.work(memory)
            room.callback(self._admission.worked, memory)
            return await self._off_loop.run(partial(self._read, call))
        question = self._read(call)
        if recalled := self._reranker.recall(question.request):
            return self._final(question, recalled, question.answer(recalled))
        return question

    def _reuse(self, known: Known) -> tuple[Ranking, bytes]:
        ranking = self._reranker.reuse(known.scores, known.model, known.top_n)
        return ranking, write(ranking, known.ids, known.echoes)

    async def _written(self, question: "_Question", ranking: Ranking) -> bytes:
        """Return the message that answers with `ranking`."""
        answer = partial(question.answer, ranking)
        return await self._off_loop.run(answer) if question.is_large else answer()

    def _read(self, call: Call) -> "_Question":
        """Read a request. Raises InvalidRequestError or UnknownModelError."""
        request = read_message(pb.RerankRequest.FromString, call.data)
        documents = documents_of(request, self._limits)
        asked = to_domain(request, documents, len(call.data), self._limits, self._reranker.find)
        is_large = len(documents) > MANY or len(call.data) > LARGE
        return _Question(call, documents, asked, request.return_documents, is_large)

    def _final(self, question: "_Question", ranking: Ranking, message: bytes) -> bytes:
        """Remember the final answer, and give it."""
        self._familiar.keep(question.call, question.documents, ranking)
        return self._answered(question.call, ranking, message)

    def _answered(self, call: Call, ranking: Ranking, message: bytes) -> bytes:
        """Remember `message`, and give it."""
        self._replies.keep(call, message, ranking)
        self._tell(call, ranking.model, ranking.usage)
        return message

    def _tell(self, call: Call, model: str, usage: Usage) -> None:
        """Say that a call was answered, and what it took."""
        if not (usage.model_calls or usage.shared_pairs):
            self._make_way()
        self._log.debug(
            "ranked",
            model=model,
            cached=usage.cached_pairs,
            scored=usage.scored_pairs,
            shared=usage.shared_pairs,
            unscored=usage.unscored_pairs,
            model_calls=usage.model_calls,
            ms=round((time.perf_counter() - call.arrived) * 1000, 2),
        )

    def _seconds(self, context: Context, question: "_Question") -> float:
        """Give the time that a call may take. Of little time, half is kept for the answer's way."""
        margin = self._margin + _LETTING_GO * len(question.documents)
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._time_limit
        return min(self._time_limit, max(remaining - margin, remaining / 2))

    async def list_models(
        self,
        request: pb.ListModelsRequest,
        context: Context,
    ) -> pb.ListModelsResponse:
        """List the models; see the proto."""
        return pb.ListModelsResponse(
            models=[
                pb.Model(
                    name=model.name,
                    description=model.description,
                    is_default=model is self._reranker.default,
                    kind=model.kind,
                    parts=model.parts,
                    provider=model.provider,
                    provider_model=model.provider_model,
                    prompt_price_usd=model.prompt_price_usd,
                    completion_price_usd=model.completion_price_usd,
                )
                for model in self._reranker.models.values()
            ]
        )


def _is_large(call: Call) -> bool:
    """Whether to read a request would hold up other calls, as far as can be told before."""
    if call.view is not None:
        return len(call.view.documents) > MANY
    return len(call.data) > _UNCOUNTED


class _Question(NamedTuple):
    """A valid request, as it came and as it is understood."""

    call: Call
    documents: Sequence[pb.Document]
    request: RerankRequest
    echoes: bool
    """Whether the answer holds the documents."""
    is_large: bool
    """Whether to write the answer would hold up other calls."""

    def answer(self, ranking: Ranking) -> bytes:
        """Write `ranking` as the message that answers it."""
        wanted = self.documents if self.echoes else ()
        return write(
            ranking,
            [document.id for document in self.documents],
            [document.SerializeToString() for document in wanted],
        )
