"""Real queries, and a provider that replies with a real model's judgements."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from support.provider import Call, FakeProvider, completion, failure
from support.server import running
from support.trec import (
    Topic,
    expected_quality,
    label_of,
    likely,
    needs_trec,
    rank_all,
    recorded,
    topics,
    whole_label,
)

pytestmark = [needs_trec, pytest.mark.timeout(300)]

Judge = Callable[[float], web.Response]


def as_integer(label: float) -> web.Response:
    """A provider that tells no probabilities."""
    return completion(str(whole_label(label)))


def as_probabilities(label: float) -> web.Response:
    """A provider that is unsure between the two labels around `label`."""
    labels = likely(label)
    return completion(max(labels, key=lambda token: labels[token]), probabilities=labels)


def judging(
    found: Sequence[Topic], judge: Judge, *, rejects_logprobs: bool
) -> Callable[[Call], web.Response]:
    judgements = recorded(found)

    def answer(call: Call) -> web.Response:
        if rejects_logprobs and call.body.get("logprobs"):
            return failure(400, message="this model does not support logprobs")
        return judge(label_of(judgements[call.query, call.document]))

    return answer


@pytest.mark.parametrize(
    ("judge", "score", "rejects_logprobs"),
    [
        (as_probabilities, float, False),
        (as_integer, whole_label, False),
        (as_integer, whole_label, True),
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
    pairs = len(recorded(found))
    provider.answer = judging(found, judge, rejects_logprobs=rejects_logprobs)
    quality = expected_quality(found, score)

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
