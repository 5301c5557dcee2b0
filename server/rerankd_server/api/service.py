"""The servicer: messages in, domain types through, messages out."""

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

import structlog
from google.protobuf.message import DecodeError

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.call import Call
from rerankd_server.api.familiar import Familiar
from rerankd_server.api.replies import Replies
from rerankd_server.api.status import Context, statuses
from rerankd_server.api.validation import Limits, documents_of, to_domain
from rerankd_server.api.writing import write
from rerankd_server.errors import InvalidRequestError, Violation
from rerankd_server.reranker import Ranking, Reranker, RerankRequest
from rerankd_server.scoring.scorer import Usage

SERVICE = pb.DESCRIPTOR.services_by_name["RerankService"].full_name

_LETTING_GO = 20e-6
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
    ) -> None:
        self._reranker = reranker
        self._replies = replies
        self._familiar = familiar
        self._epoch = epoch
        self._make_way = make_way
        self._limits = limits
        self._margin = margin
        self._time_limit = time_limit
        self._log = structlog.get_logger().bind()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it there. Requests are read, and answers written, here."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Rerank": grpc.unary_stream_rpc_method_handler(self.rerank),
            "RerankOnce": grpc.unary_unary_rpc_method_handler(self.rerank_once),
            "ListModels": grpc.unary_unary_rpc_method_handler(
                self.list_models,
                pb.ListModelsRequest.FromString,
                pb.ListModelsResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    # Written out rather than yielded: a generator that is left at a `yield` is closed by nobody.
    async def rerank(self, data: bytes, context: Context) -> None:
        """Stream rankings; see the proto."""
        async with statuses(context):
            call = Call(data, self._epoch())
            if known := self._known(call):
                await context.write(known)
                return
            question = self._read(call)
            if recalled := self._reranker.recall(question.asked):
                await context.write(self._final(question, recalled))
                return
            seconds = self._seconds(context, question)
            async with aclosing(self._reranker.rerank(question.asked, seconds)) as rankings:
                async for each in rankings:
                    final = self._final(question, each) if each.is_final else None
                    await context.write(final or question.answer(each))

    async def rerank_once(self, data: bytes, context: Context) -> bytes:
        """Give the final ranking; see the proto."""
        async with statuses(context):
            call = Call(data, self._epoch())
            if known := self._known(call):
                return known
            question = self._read(call)
            if recalled := self._reranker.recall(question.asked):
                return self._final(question, recalled)
            asked = replace(question.asked, partial_results=False)
            seconds = self._seconds(context, question)
            async with aclosing(self._reranker.rerank(asked, seconds)) as rankings:
                return self._final(question, await anext(rankings))

    def _known(self, call: Call) -> bytes | None:
        """Give the answer, where it is the same as before, or made of familiar documents alone."""
        if reply := self._replies.find(call):
            self._tell(call, reply.model, reply.usage)
            return reply.message
        if (known := self._familiar.find(call)) is None:
            return None
        ranking = self._reranker.reuse(known.scores, known.model, known.top_n)
        return self._answered(call, ranking, write(ranking, known.ids, known.echoes))

    def _read(self, call: Call) -> "_Question":
        """Read a request. Raises InvalidRequestError or UnknownModelError."""
        try:
            request = pb.RerankRequest.FromString(call.data)
        except DecodeError:
            wrong = Violation("request", "is no message of the API's")
            raise InvalidRequestError([wrong]) from None
        documents = documents_of(request, self._limits)
        asked = to_domain(request, documents, len(call.data), self._limits, self._reranker.find)
        return _Question(call, request, documents, asked)

    def _final(self, question: "_Question", ranking: Ranking) -> bytes:
        """Write the answer, and remember it."""
        self._familiar.keep(question.call, question.documents, ranking)
        return self._answered(question.call, ranking, question.answer(ranking))

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


class _Question(NamedTuple):
    """A valid request, as it came and as it is understood."""

    call: Call
    request: pb.RerankRequest
    documents: Sequence[pb.Document]
    asked: RerankRequest

    def answer(self, ranking: Ranking) -> bytes:
        """Write `ranking` as the message that answers it."""
        wanted = self.documents if self.request.return_documents else ()
        return write(
            ranking,
            [document.id for document in self.documents],
            [document.SerializeToString() for document in wanted],
        )
