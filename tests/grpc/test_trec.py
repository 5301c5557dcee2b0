"""Real queries, and a provider that replies with a real model's judgements."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from rerankd import AsyncClient
from support.provider import Call, FakeProvider, completion, failure
from support.server import running
from support.trec import Topic, by_score, label_of, ndcg, needs_trec, topics

pytestmark = [needs_trec, pytest.mark.timeout(300)]

Judge = Callable[[float], web.Response]


def as_integer(label: float) -> web.Response:
    """A provider that tells no probabilities."""
    return completion(str(int(label + 0.5)))


def as_probabilities(label: float) -> web.Response:
    """A provider that is unsure between the two labels around `label`."""
    low, share = int(label), label - int(label)
    likely = {str(low): 1 - share, str(low + 1): share} if share else {str(low): 1.0}
    return completion(max(likely, key=lambda token: likely[token]), probabilities=likely)


def judging(
    found: Sequence[Topic], judge: Judge, *, rejects_logprobs: bool
) -> Callable[[Call], web.Response]:
    recorded = {
        (topic.query, text): judgement
        for topic in found
        # The first of equal texts counts: it is the one that is asked about.
        for text, judgement in reversed(list(zip(topic.texts, topic.judgements, strict=True)))
    }

    def answer(call: Call) -> web.Response:
        if rejects_logprobs and call.body.get("logprobs"):
            return failure(400, message="this model does not support logprobs")
        return judge(label_of(recorded[call.query, call.document]))

    return answer


async def rank_all(address: str, found: Sequence[Topic]) -> tuple[float, int, int]:
    """Give the mean nDCG@10 and the numbers of pairs that were scored, and that were cached."""
    quality = scored = cached = 0.0
    async with AsyncClient(address) as client:
        for topic in found:
            ranking = await client.rerank(topic.query, topic.texts)
            quality += ndcg(topic, [result.index for result in ranking])
            scored += ranking.usage.scored_pairs
            cached += ranking.usage.cached_pairs
    return quality / len(found), int(scored), int(cached)


def expected(found: Sequence[Topic], score: Callable[[float], float]) -> float:
    """The mean nDCG@10 of the judgements themselves, ties by first-stage order."""
    total = 0.0
    for topic in found:
        first: dict[str, int] = {}
        for text, judgement in zip(topic.texts, topic.judgements, strict=True):
            first.setdefault(text, judgement)
        total += ndcg(topic, by_score([score(label_of(first[text])) for text in topic.texts]))
    return total / len(found)


@pytest.mark.parametrize(
    ("judge", "score", "rejects_logprobs"),
    [
        (as_probabilities, float, False),
        (as_integer, lambda label: int(label + 0.5), False),
        (as_integer, lambda label: int(label + 0.5), True),
    ],
    ids=["probabilities", "integers", "rejects-logprobs"],
)
async def test_dl19(
    provider: FakeProvider,
    tmp_path: Path,
    judge: Judge,
    score: Callable[[float], float],
    rejects_logprobs: bool,
) -> None:
    found = topics("dl19")
    pairs = sum(len(set(topic.texts)) for topic in found)
    provider.answer = judging(found, judge, rejects_logprobs=rejects_logprobs)
    quality = expected(found, score)

    async with running(tmp_path, base_url=provider.base_url) as app:
        assert await rank_all(app.address, found) == pytest.approx((quality, pairs, 0))
        calls = len(provider.calls)
        accepted = [
            call for call in provider.calls if not (rejects_logprobs and "logprobs" in call.body)
        ]
        assert len(accepted) == pairs
        assert calls - pairs <= 2 * 32  # what was in flight when the two refusals were learnt
        assert await rank_all(app.address, found) == pytest.approx((quality, 0, pairs))
    async with running(tmp_path, base_url=provider.base_url) as app:
        assert await rank_all(app.address, found) == pytest.approx((quality, 0, pairs))
    assert len(provider.calls) == calls
