"""Writes a ranking as the API's message.

Its results are written byte by byte, as protobuf's encoding has them: an object for each of them
would take four times as long, and that is a tenth of a call that the cache answers. A test holds
what is written here to what protobuf writes.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from struct import Struct

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Reason, Source, Usage

_VARINT, _DOUBLE, _BYTES = 0, 1, 2
"""Protobuf's wire types."""


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _tag(field: str, wire_type: int) -> bytes:
    return _varint(pb.RankedDocument.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)


_RESULT = _varint(pb.RerankResponse.DESCRIPTOR.fields_by_name["results"].number << 3 | _BYTES)
_INDEX, _ID = _tag("index", _VARINT), _tag("id", _BYTES)
_SCORE = _tag("relevance_score", _DOUBLE)
_SOURCE, _REASON = _tag("source", _VARINT), _tag("unscored_reason", _VARINT)
_DOCUMENT = _tag("document", _BYTES)
_double: Callable[[float], bytes] = Struct("<d").pack

_SOURCES = {
    None: b"",
    Source.CACHE: _SOURCE + _varint(pb.SCORE_SOURCE_CACHE),
    Source.MODEL: _SOURCE + _varint(pb.SCORE_SOURCE_MODEL),
    Source.SHARED: _SOURCE + _varint(pb.SCORE_SOURCE_SHARED),
}
_REASONS = {
    None: b"",
    Reason.PENDING: _REASON + _varint(pb.UNSCORED_REASON_PENDING),
    Reason.NOT_CACHED: _REASON + _varint(pb.UNSCORED_REASON_NOT_CACHED),
    Reason.REFUSED: _REASON + _varint(pb.UNSCORED_REASON_REFUSED),
    Reason.FAILED: _REASON + _varint(pb.UNSCORED_REASON_FAILED),
}


def write(ranking: Ranking, documents: Sequence[pb.Document], *, echoed: bool) -> bytes:
    """Write `ranking` as a RerankResponse, with the documents in it if they are to be `echoed`."""
    ids = [document.id for document in documents]
    names = [_name(n, id_) for n, id_ in enumerate(ids)] if any(ids) else None
    sources = ranking.sources
    if echoed or ranking.reasons or sources.count(sources[0]) < len(sources):
        results = _mixed(ranking, names, documents if echoed else ())
    else:
        results = _uniform(ranking, names)
    rest = pb.RerankResponse(
        is_final=ranking.is_final, model=ranking.model, usage=_usage(ranking.usage)
    )
    return b"".join((*results, rest.SerializeToString()))


def _uniform(ranking: Ranking, names: Sequence[bytes] | None) -> Sequence[bytes]:
    """Write results that all have a score, and from the same source."""
    order, scores, double = ranking.order, ranking.scores, _double
    source = _SOURCES[ranking.sources[0]]
    if names is None:
        heads: Iterable[bytes] = map(_head, order)
    else:
        heads = [_begin(names[n], _SCORED) + _SCORE for n in order]
    return [
        head + double(scores[n]) + source  # type: ignore[arg-type]  # all have a score
        for head, n in zip(heads, order, strict=True)
    ]


def _mixed(
    ranking: Ranking, names: Sequence[bytes] | None, echoed: Sequence[pb.Document]
) -> Sequence[bytes]:
    """Write results of any kind."""
    scores, sources, reasons = ranking.scores, ranking.sources, ranking.reasons
    results = []
    for n in ranking.order:
        score, source = scores[n], _SOURCES[sources[n]]
        rest = source if score is None else _SCORE + _double(score) + source
        rest += _REASONS[reasons.get(n)]
        if echoed:
            rest += _text(_DOCUMENT, echoed[n].SerializeToString())
        results.append(_begin(_name(n) if names is None else names[n], len(rest)) + rest)
    return results


_SCORED = len(_SCORE + _double(0) + _SOURCES[Source.CACHE])
"""Bytes of a score and its source."""


@cache
def _head(position: int) -> bytes:
    """Give a result without an id, up to its score, that ends with the score's source."""
    return _begin(_name(position), _SCORED) + _SCORE


def _name(position: int, id_: str = "") -> bytes:
    """Write by what a document is known; what is 0 or empty is left out."""
    index = _INDEX + _varint(position) if position else b""
    return index + _text(_ID, id_.encode()) if id_ else index


def _begin(name: bytes, rest: int) -> bytes:
    """Begin a result with `name`, and `rest` more bytes behind it."""
    return _RESULT + _varint(len(name) + rest) + name


def _text(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


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
