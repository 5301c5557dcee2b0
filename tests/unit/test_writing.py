"""Rankings on the wire: byte for byte what protobuf itself writes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.writing import write
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Detail, Reason, Source, Unscored, Usage

SOURCES = {
    None: pb.SCORE_SOURCE_UNSPECIFIED,
    Source.CACHE: pb.SCORE_SOURCE_CACHE,
    Source.MODEL: pb.SCORE_SOURCE_MODEL,
    Source.SHARED: pb.SCORE_SOURCE_SHARED,
}
REASONS = {
    None: pb.UNSCORED_REASON_UNSPECIFIED,
    Reason.PENDING: pb.UNSCORED_REASON_PENDING,
    Reason.NOT_CACHED: pb.UNSCORED_REASON_NOT_CACHED,
    Reason.REFUSED: pb.UNSCORED_REASON_REFUSED,
    Reason.FAILED: pb.UNSCORED_REASON_FAILED,
}
DETAILS = {
    None: pb.UNSCORED_DETAIL_UNSPECIFIED,
    Detail.CUT_OFF: pb.UNSCORED_DETAIL_CUT_OFF,
    Detail.EMPTY_REPLY: pb.UNSCORED_DETAIL_EMPTY_REPLY,
    Detail.UNREADABLE: pb.UNSCORED_DETAIL_UNREADABLE,
    Detail.DECLINED: pb.UNSCORED_DETAIL_DECLINED,
}

texts = st.text(st.characters(codec="utf-8"), max_size=200)
ids = st.one_of(st.just(""), texts)
documents = st.builds(
    pb.Document, text=texts, id=ids, prior_score=st.one_of(st.none(), st.floats(allow_nan=False))
)
scores = st.one_of(st.just(0.0), st.floats(0, 1))
counts = st.integers(0, (1 << 31) - 1)
dollars = st.one_of(st.none(), st.floats(0, 1e6))
usages = st.builds(
    Usage,
    *[counts] * 5,
    *[st.integers(0, (1 << 63) - 1)] * 4,
    cost_usd=dollars,
    saved_usd=dollars,
    pending_calls=counts,
)
reasons = st.builds(
    Unscored, st.sampled_from(Reason), detail=st.one_of(st.none(), st.sampled_from(Detail))
)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Ranking, list[pb.Document]]:
    """A ranking of up to 300 documents: of all kinds, or all scored from one source."""
    few = draw(st.lists(documents, min_size=1, max_size=5))
    asked = few * draw(st.sampled_from([1, 2, 60]))
    count = len(asked)
    order = draw(st.permutations(range(count)))[: draw(st.integers(1, count))]
    if draw(st.booleans()):
        values: list[Any] = draw(st.lists(scores, min_size=count, max_size=count))
        sources = [draw(st.sampled_from(Source))] * count
        unscored: dict[int, Unscored] = {}
    else:
        each = st.lists(st.one_of(st.none(), scores), min_size=count, max_size=count)
        values = draw(each)
        sources = [None if v is None else draw(st.sampled_from(Source)) for v in values]
        unscored = draw(st.dictionaries(st.integers(0, count - 1), reasons))
        unscored.update((n, Unscored(Reason.FAILED)) for n, v in enumerate(values) if v is None)
    is_final, model = draw(st.booleans()), draw(texts)
    return Ranking(order, values, sources, unscored, is_final, model, draw(usages)), asked


@given(rankings(), st.booleans())
def test_the_bytes_are_protobufs(drawn: tuple[Ranking, list[pb.Document]], echoed: bool) -> None:
    ranking, asked = drawn
    expected = pb.RerankResponse(
        results=[
            pb.RankedDocument(
                index=result.position,
                id=asked[result.position].id,
                relevance_score=result.score,
                source=SOURCES[result.source],
                unscored_reason=REASONS[result.reason],
                document=asked[result.position] if echoed else None,
                unscored_detail=DETAILS[
                    why.detail if (why := ranking.unscored.get(result.position)) else None
                ],
            )
            for result in ranking.results
        ],
        is_final=ranking.is_final,
        model=ranking.model,
        usage=pb.Usage(
            cached_pairs=ranking.usage.cached_pairs,
            scored_pairs=ranking.usage.scored_pairs,
            shared_pairs=ranking.usage.shared_pairs,
            unscored_pairs=ranking.usage.unscored_pairs,
            model_calls=ranking.usage.model_calls,
            prompt_tokens=ranking.usage.prompt_tokens,
            completion_tokens=ranking.usage.completion_tokens,
            cost_usd=ranking.usage.cost_usd,
            saved_usd=ranking.usage.saved_usd,
            saved_prompt_tokens=ranking.usage.saved_prompt_tokens,
            saved_completion_tokens=ranking.usage.saved_completion_tokens,
            pending_calls=ranking.usage.pending_calls,
        ),
    )
    ids = [document.id for document in asked]
    echoes = [document.SerializeToString() for document in asked] if echoed else []
    assert write(ranking, ids, echoes) == expected.SerializeToString(deterministic=True)
