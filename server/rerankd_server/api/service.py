"""The servicer: messages in, domain types through, messages out."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import structlog

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.replies import Call, Replies
from rerankd_server.api.status import Context, statuses
from rerankd_server.api.validation import Limits, to_domain
from rerankd_server.errors import InvalidRequestError, Violation
from rerankd_server.reranker import Ranking, Reranker
from rerankd_server.scoring.scorer import Reason, Source, Usage

_log = structlog.get_logger()

SERVICE = pb.DESCRIPTOR.services_by_name["RerankService"].full_name

_SOURCES = {
    None: pb.SCORE_SOURCE_UNSPECIFIED,
    Source.CACHE: pb.SCORE_SOURCE_CACHE,
    Source.MODEL: pb.SCORE_SOURCE_MODEL,
    Source.SHARED: pb.SCORE_SOURCE_SHARED,
}
_REASONS = {
    None: pb.UNSCORED_REASON_UNSPECIFIED,
    Reason.PENDING: pb.UNSCORED_REASON_PENDING,
    Reason.NOT_CACHED: pb.UNSCORED_REASON_NOT_CACHED,
    Reason.REFUSED: pb.UNSCORED_REASON_REFUSED,
    Reason.FAILED: pb.UNSCORED_REASON_FAILED,
}


_LETTING_GO = 20e-6
"""Seconds to let go of a document that is still being scored: about twice what was measured."""


class RerankService:
    """`rerankd.v1.RerankService` over a Reranker.

    A call ends `margin` seconds before its deadline, and after `time_limit` seconds at the latest.
    `replies` knows what was answered before.
    """

    def __init__(
        self,
        reranker: Reranker,
        replies: Replies,
        limits: Limits,
        margin: float,
        time_limit: float,
    ) -> None:
        self._reranker = reranker
        self._replies = replies
        self._limits = limits
        self._margin = margin
        self._time_limit = time_limit

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it there. Requests are read, and replies written, by `replies` and by hand."""
        read = self._replies.read
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Rerank": grpc.unary_stream_rpc_method_handler(self.rerank, read),
            "RerankOnce": grpc.unary_unary_rpc_method_handler(self.rerank_once, read),
            "ListModels": grpc.unary_unary_rpc_method_handler(
                self.list_models,
                pb.ListModelsRequest.FromString,
                pb.ListModelsResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    # Written out rather than yielded: a generator that is left at a `yield` is closed by nobody.
    async def rerank(self, call: Call, context: Context) -> None:
        """Stream rankings; see the proto."""
        async with statuses(context), aclosing(self._answers(call, context)) as answers:
            async for answer in answers:
                await context.write(answer)

    async def rerank_once(self, call: Call, context: Context) -> bytes:
        """Give the final ranking; see the proto."""
        async with statuses(context), aclosing(self._answers(call, context, once=True)) as answers:
            return await anext(answers)
        raise AssertionError("unreachable: a failed call is aborted")

    async def _answers(
        self, call: Call, context: Context, *, once: bool = False
    ) -> AsyncGenerator[bytes]:
        started = time.perf_counter()
        if call.reply:
            _tell(call.reply.ranking, time.perf_counter() - started)
            yield call.reply.message
            return
        request = call.request
        if request is None:
            raise InvalidRequestError([Violation("request", "is no message of the API's")])
        asked = to_domain(request, self._limits, self._reranker.find)
        if once:
            asked = replace(asked, partial_results=False)
        seconds = self._seconds(context.time_remaining(), len(asked.candidates))
        async with aclosing(self._reranker.rerank(asked, seconds)) as rankings:
            async for ranking in rankings:
                message = _to_message(ranking, request).SerializeToString()
                if ranking.is_final:
                    self._replies.keep(call, message, ranking)
                    _tell(ranking, time.perf_counter() - started)
                yield message

    def _seconds(self, remaining: float | None, documents: int) -> float:
        """Give the time that a call may take. Of little time, half is kept for the answer's way."""
        margin = self._margin + _LETTING_GO * documents
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


def _tell(ranking: Ranking, seconds: float) -> None:
    """Log that a call was answered, and what it took."""
    _log.debug(
        "ranked",
        model=ranking.model,
        cached=ranking.usage.cached_pairs,
        scored=ranking.usage.scored_pairs,
        shared=ranking.usage.shared_pairs,
        unscored=ranking.usage.unscored_pairs,
        model_calls=ranking.usage.model_calls,
        ms=round(seconds * 1000, 2),
    )


def _to_message(ranking: Ranking, request: pb.RerankRequest) -> pb.RerankResponse:
    documents = request.documents
    response = pb.RerankResponse(
        is_final=ranking.is_final, model=ranking.model, usage=_usage(ranking.usage)
    )
    add = response.results.add
    for position, score, source, reason in ranking.results:  # field by field: it takes a third
        result = add()
        result.index = position
        result.id = documents[position].id
        if score is not None:
            result.relevance_score = score
        result.source = _SOURCES[source]
        result.unscored_reason = _REASONS[reason]
        if request.return_documents:
            result.document.CopyFrom(documents[position])
    return response


def _usage(usage: Usage) -> pb.Usage:
    return pb.Usage(
        cached_pairs=usage.cached_pairs,
        scored_pairs=usage.scored_pairs,
        shared_pairs=usage.shared_pairs,
        unscored_pairs=usage.unscored_pairs,
        model_calls=usage.model_calls,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
        saved_usd=usage.saved_usd,
        saved_prompt_tokens=usage.saved_prompt_tokens,
        saved_completion_tokens=usage.saved_completion_tokens,
    )
