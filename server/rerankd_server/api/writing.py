"""Writes a ranking as the API's message.

Its results are written byte by byte, as protobuf's encoding has them: an object for each of them
would take four times as long, and that is a tenth of a call that the cache answers. A test holds
what is written here to what protobuf writes.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Detail, Reason, Source, Usage

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
_DETAIL = _tag("unscored_detail", _VARINT)
_DOCUMENT = _tag("document", _BYTES)
_double: Callable[[float], bytes] = Struct("<d").pack
_END = Struct("<d2s").pack
"""A score and its source, which ends a result."""
_END_SIZE = Struct("<d2s").size

_SOURCES = {
    None: b"",
    Source.CACHE: _SOURCE + _varint(pb.SCORE_SOURCE_CACHE),
    Source.MODEL: _SOURCE + _varint(pb.SCORE_SOURCE_MODEL),
    Source.SHARED: _SOURCE + _varint(pb.SCORE_SOURCE_SHARED),
}
_REASONS = {
    Reason.PENDING: _REASON + _varint(pb.UNSCORED_REASON_PENDING),
    Reason.NOT_CACHED: _REASON + _varint(pb.UNSCORED_REASON_NOT_CACHED),
    Reason.REFUSED: _REASON + _varint(pb.UNSCORED_REASON_REFUSED),
    Reason.FAILED: _REASON + _varint(pb.UNSCORED_REASON_FAILED),
}
_DETAILS = {
    None: b"",
    Detail.CUT_OFF: _DETAIL + _varint(pb.UNSCORED_DETAIL_CUT_OFF),
    Detail.EMPTY_REPLY: _DETAIL + _varint(pb.UNSCORED_DETAIL_EMPTY_REPLY),
    Detail.UNREADABLE: _DETAIL + _varint(pb.UNSCORED_DETAIL_UNREADABLE),
    Detail.DECLINED: _DETAIL + _varint(pb.UNSCORED_DETAIL_DECLINED),
}


def write(ranking: Ranking, ids: Sequence[str], echoes: Sequence[bytes] = ()) -> bytes:
    """Write `ranking` as a RerankResponse, with the documents' `ids`, and maybe themselves."""
    names = [_name(n, id_) for n, id_ in enumerate(ids)] if any(ids) else None
    sources = ranking.sources
    if echoes or ranking.unscored or sources.count(sources[0]) < len(sources):
        results = _mixed(ranking, names, echoes)
    else:
        results = _uniform(ranking, names)
    return b"".join((*results, _rest(ranking.is_final, ranking.model, ranking.usage)))


def _uniform(ranking: Ranking, names: Sequence[bytes] | None) -> Sequence[bytes]:
    """Write results that all have a score, and from the same source."""
    scores, source = ranking.scores, _SOURCES[ranking.sources[0]]
    heads = _heads(len(scores)) if names is None else [_head(name) for name in names]
    end = _END
    return [heads[n] + end(scores[n], source) for n in ranking.order]


def _mixed(
    ranking: Ranking, names: Sequence[bytes] | None, echoes: Sequence[bytes]
) -> Sequence[bytes]:
    """Write results of any kind."""
    scores, sources, unscored = ranking.scores, ranking.sources, ranking.unscored
    results = []
    for n in ranking.order:
        score, source = scores[n], _SOURCES[sources[n]]
        rest = source if score is None else _SCORE + _double(score) + source
        why = unscored.get(n)
        rest += _REASONS[why.reason] if why else b""
        if echoes:
            rest += _text(_DOCUMENT, echoes[n])
        rest += _DETAILS[why.detail] if why else b""
        results.append(_begin(_name(n) if names is None else names[n], len(rest)) + rest)
    return results


_known_heads: list[bytes] = []


def _heads(count: int) -> Sequence[bytes]:
    """Give the heads of at least `count` results without ids, by position."""
    positions = range(len(_known_heads), count)
    _known_heads.extend(_head(_name(position)) for position in positions)
    return _known_heads


def _head(name: bytes) -> bytes:
    """Begin a result of `name`, a score and its source: all that comes before the score."""
    return _begin(name, len(_SCORE) + _END_SIZE) + _SCORE


def _name(position: int, id_: str = "") -> bytes:
    """Write by what a document is known; what is 0 or empty is left out."""
    index = _INDEX + _varint(position) if position else b""
    return index + _text(_ID, id_.encode()) if id_ else index


def _begin(name: bytes, rest: int) -> bytes:
    """Begin a result with `name`, and `rest` more bytes behind it."""
    return _RESULT + _varint(len(name) + rest) + name


def _text(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


@lru_cache  # the same documents in another order cost the same
def _rest(is_final: bool, model: str, usage: Usage) -> bytes:
    """Write all but the results."""
    return pb.RerankResponse(
        is_final=is_final,
        model=model,
        usage=pb.Usage(
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
            pending_calls=usage.pending_calls,
        ),
    ).SerializeToString()
