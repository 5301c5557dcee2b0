"""Turns a request message into a valid request, or names every rule that it breaks."""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.errors import InvalidRequestError, UnknownModelError, Violation
from rerankd_server.reranker import RerankRequest
from rerankd_server.scoring.scorer import CacheMode, Documents

_CACHE_MODES = {
    pb.CACHE_MODE_UNSPECIFIED: CacheMode.READ_WRITE,
    pb.CACHE_MODE_READ_WRITE: CacheMode.READ_WRITE,
    pb.CACHE_MODE_ONLY_IF_CACHED: CacheMode.ONLY_IF_CACHED,
    pb.CACHE_MODE_REFRESH: CacheMode.REFRESH,
    pb.CACHE_MODE_BYPASS: CacheMode.BYPASS,
}

_RESULT_ROOM = 64
"""More bytes than one result takes beside its id and its document, on the wire."""
_RANKING_ROOM = 1024
"""More bytes than a ranking takes beside its results."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may hold."""

    documents: int = 10_000
    query_chars: int = 16_000
    """For the query, and for the instruction."""
    message_bytes: int = 64 << 20
    """For the request, and for a ranking."""


def documents_of(request: pb.RerankRequest, limits: Limits) -> Sequence[pb.Document]:
    """Give the documents; of too many, none."""
    return () if len(request.documents) > limits.documents else [*request.documents]


def fits(size: int, documents: int, limits: Limits) -> bool:
    """Whether the ranking of a request of `size` bytes surely fits into a message.

    Nothing echoes more than the request itself, twice.
    """
    return 2 * size + _RESULT_ROOM * documents + _RANKING_ROOM <= limits.message_bytes


def to_domain(
    request: pb.RerankRequest,
    documents: Sequence[pb.Document],
    size: int,
    limits: Limits,
    find_model: Callable[[str], object],
) -> RerankRequest:
    """Give what `request` asks for; it has `documents` (see `documents_of`) and took `size` bytes.

    Raises InvalidRequestError with every rule of the proto that it breaks, or what `find_model`
    raises where nothing but its model is wrong.
    """
    texts = [document.text for document in documents]
    violations = list(_violations(request, size, documents, texts, limits))
    try:
        find_model(request.model)
    except UnknownModelError as error:
        if not violations:
            raise
        violations.extend(error.violations)
    if violations:
        raise InvalidRequestError(violations)
    return RerankRequest(
        query=request.query,
        documents=Documents(texts, partial(_priors, documents)),
        model=request.model,
        top_n=request.top_n,
        instruction=request.instruction,
        partial_results=request.partial_results,
        require_complete=request.require_complete,
        cache_mode=_CACHE_MODES[request.cache_mode],
    )


def _priors(documents: Sequence[pb.Document]) -> Mapping[int, float]:
    return {n: each.prior_score for n, each in enumerate(documents) if each.HasField("prior_score")}


def _violations(
    request: pb.RerankRequest,
    size: int,
    documents: Sequence[pb.Document],
    texts: Sequence[str],
    limits: Limits,
) -> Iterator[Violation]:
    """Find every broken rule, in the order of the proto's fields."""
    if size > limits.message_bytes:
        yield Violation(
            "request",
            f"takes {size:,} bytes, and the limit is {limits.message_bytes:,}; "
            "send fewer documents, or shorter ones, in a request",
        )
    if _is_blank(request.query):
        yield Violation("query", "is empty; give the text that documents are judged against")
    for field, text in (("query", request.query), ("instruction", request.instruction)):
        if len(text) > limits.query_chars:
            yield Violation(
                field, f"has {len(text):,} characters, and the limit is {limits.query_chars:,}"
            )
    if not request.documents:
        yield Violation("documents", "is empty; give at least one document")
    if (count := len(request.documents)) > limits.documents:
        yield Violation(
            "documents",
            f"has {count:,} documents, and the limit is {limits.documents:,}; "
            "send several requests: scores of different requests compare",
        )
    priors = [document.prior_score for document in documents]  # 0 where there is none
    # All at once, since nearly always there is nothing to find.
    if "" in texts or any(map(str.isspace, texts)) or not all(map(math.isfinite, priors)):
        yield from _document_violations(texts, priors)
    if (
        len(request.documents) <= limits.documents
        and not fits(size, len(request.documents), limits)
        and (largest := _largest_ranking(request)) > limits.message_bytes
    ):
        yield Violation(
            "return_documents" if request.return_documents else "documents",
            f"the ranking may take {largest:,} bytes, and the limit is "
            f"{limits.message_bytes:,}; find documents by `index`, or set `top_n`",
        )
    if request.cache_mode not in _CACHE_MODES:
        yield Violation("cache_mode", f"{request.cache_mode} is not a mode that this server knows")


def _document_violations(texts: Sequence[str], priors: Sequence[float]) -> Iterator[Violation]:
    """Find what is wrong with the documents, one by one."""
    for index, (text, prior) in enumerate(zip(texts, priors, strict=True)):
        if _is_blank(text):
            yield Violation(f"documents[{index}].text", "is empty; leave the document out")
        if not math.isfinite(prior):
            yield Violation(
                f"documents[{index}].prior_score",
                "is not a finite number; leave it out where there is none",
            )


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _largest_ranking(request: pb.RerankRequest) -> int:
    """Give a bound, in bytes, of the ranking's message; exact to some bytes a result."""
    count = len(request.documents)
    echoed = (
        len(document.id.encode()) + (document.ByteSize() if request.return_documents else 0)
        for document in request.documents
    )
    kept = min(request.top_n, count) if request.top_n > 0 else count
    return sum(heapq.nlargest(kept, echoed)) + _RESULT_ROOM * kept + _RANKING_ROOM
