"""One request: the order, the partial rankings, and when a request fails."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import pytest
from structlog.testing import capture_logs

from rerankd_server.errors import (
    IncompleteError,
    KeyRejectedError,
    OutOfTimeError,
    ProviderUnavailableError,
    UnknownModelError,
)
from rerankd_server.reranker import Model, Ranking, Reranker, RerankRequest
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Documents,
    Identity,
    Progress,
    Reason,
    Recalled,
    Score,
    Scorer,
    Source,
    Unscored,
    Usage,
)
from support.scorers import FakeScorer, Outcome, number_in

DOWN = ProviderUnavailableError("the provider is down", 1.0)


def reranker(scorer: FakeScorer | None = None) -> Reranker:
    return Reranker([Model("fake", "", scorer or FakeScorer())], partial_interval=0.0)


def request(texts: Sequence[str], **fields: object) -> RerankRequest:
    return RerankRequest("q", Documents(texts), **fields)  # type: ignore[arg-type]


async def final(ranker: Reranker, asked: RerankRequest) -> Ranking:
    (ranking,) = [ranking async for ranking in ranker.rerank(asked)]
    assert ranking.is_final
    return ranking


def order(ranking: Ranking) -> list[int]:
    return [result.position for result in ranking.results]


async def test_best_first() -> None:
    ranking = await final(reranker(), request(["0.2", "0.9", "0", "0.5"]))
    assert order(ranking) == [1, 3, 0, 2]
    assert [result.score for result in ranking.results] == [0.9, 0.5, 0.2, 0.0]
    assert {result.source for result in ranking.results} == {Source.MODEL}
    assert ranking.model == "fake"
    assert ranking.usage == Usage(scored_pairs=4, model_calls=4)


async def test_ties_keep_the_requests_order() -> None:
    texts = ["0.5 a", "0.7", "0.5 b", "0.5 c", "0.7 d"]
    assert order(await final(reranker(), request(texts))) == [1, 4, 0, 2, 3]


async def test_documents_without_a_score_come_last_in_the_requests_order() -> None:
    def outcome(text: str) -> Outcome:
        return Unscored(Reason.REFUSED) if text == "no" else number_in(text)

    ranking = await final(reranker(FakeScorer(outcome)), request(["no", "0", "no", "0.1"]))
    assert order(ranking) == [3, 1, 0, 2]
    assert [result.reason for result in ranking.results] == [None, None] + [Reason.REFUSED] * 2
    assert [result.source for result in ranking.results] == [Source.MODEL] * 2 + [None] * 2


@pytest.mark.parametrize(("top_n", "count"), [(0, 3), (-1, 3), (1, 1), (2, 2), (3, 3), (99, 3)])
async def test_top_n(top_n: int, count: int) -> None:
    ranking = await final(reranker(), request(["0.1", "0.2", "0.3"], top_n=top_n))
    assert order(ranking) == [2, 1, 0][:count]
    assert ranking.usage.scored_pairs == 3


async def test_an_unknown_model_is_named_beside_those_that_are_known() -> None:
    with pytest.raises(UnknownModelError, match=r"'gpt-9' is not served here.*'fake'"):
        await final(reranker(), request(["0.1"], model="gpt-9"))


async def test_the_default_model_may_be_named() -> None:
    assert (await final(reranker(), request(["0.1"], model="fake"))).model == "fake"


class Steps(Scorer):
    """A scorer whose progress a test hands over step by step; None ends it."""

    def __init__(self) -> None:
        self.identity: Identity = {}
        self.steps: asyncio.Queue[Progress | Exception | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        try:
            while (step := await self.steps.get()) is not None:
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            self.closed.set()


def scored(position: int, value: float, source: Source = Source.MODEL) -> Progress:
    return Progress({position: Score(value)}, source=source)


async def test_partial_rankings_get_better_until_the_final_one() -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)], partial_interval=0.0)
    rankings = ranker.rerank(request(["a", "b", "c"], partial_results=True))

    scorer.steps.put_nowait(scored(1, 0.5, Source.CACHE))
    first = await anext(rankings)
    assert order(first) == [1, 0, 2]
    assert [result.reason for result in first.results] == [None, Reason.PENDING, Reason.PENDING]
    assert not first.is_final

    scorer.steps.put_nowait(scored(2, 0.9))
    second = await anext(rankings)
    assert order(second) == [2, 1, 0]
    assert not second.is_final

    scorer.steps.put_nowait(scored(0, 0.1))
    scorer.steps.put_nowait(None)
    rest = [ranking async for ranking in rankings]
    assert order(rest[-1]) == [2, 1, 0]
    assert [ranking.is_final for ranking in rest] == [False] * (len(rest) - 1) + [True]


async def test_partial_rankings_keep_their_distance() -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)], partial_interval=60.0)
    rankings = ranker.rerank(request(["a", "b", "c"], partial_results=True))
    scorer.steps.put_nowait(scored(0, 0.5))
    assert not (await anext(rankings)).is_final
    for step in (scored(1, 0.1), scored(2, 0.2), None):
        scorer.steps.put_nowait(step)
    assert [ranking.is_final async for ranking in rankings] == [True]


async def test_a_failure_ends_partial_rankings() -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)], partial_interval=0.0)
    rankings = ranker.rerank(request(["a", "b"], partial_results=True))
    scorer.steps.put_nowait(scored(0, 0.5))
    await anext(rankings)
    scorer.steps.put_nowait(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await anext(rankings)


@pytest.mark.parametrize("partial", [False, True])
async def test_who_leaves_closes_the_scorer(partial: bool) -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)], partial_interval=0.0)
    rankings = ranker.rerank(request(["a", "b"], partial_results=partial))
    waiting = asyncio.ensure_future(anext(rankings))
    scorer.steps.put_nowait(scored(0, 0.5))
    if partial:
        await waiting
    else:
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    await rankings.aclose()
    assert scorer.closed.is_set()


class Remembering(FakeScorer):
    """A scorer that recalls each text's score; equal texts are one pair."""

    def recall(self, ask: Ask, candidates: Sequence[Candidate]) -> Recalled:
        texts = [candidate.text for candidate in candidates]
        scores = {text: Score(float(text), 100, 1, scored_at=1000 + len(text)) for text in texts}
        return Recalled([scores[text] for text in texts], [text.encode() for text in texts])


def test_a_pair_that_is_recalled_twice_is_counted_once() -> None:
    ranker = Reranker([Model("m", "", Remembering())])
    ranking = ranker.recall(request(["0.5", "0.75", "0.5", "0.50"]))
    assert ranking
    assert order(ranking) == [1, 0, 2, 3]
    assert ranking.pairs == [b"0.5", b"0.75", b"0.5", b"0.50"]
    assert ranking.usage == Usage(
        cached_pairs=3, saved_prompt_tokens=300, saved_completion_tokens=3
    )
    assert ranking.oldest == 1003
    assert ranking.recalled
    assert ranker.reuse(ranking.recalled, "m", 2).usage == ranking.usage


def failing(*texts: str) -> FakeScorer:
    def outcome(text: str) -> Outcome:
        return Unscored(Reason.FAILED, DOWN) if text in texts else number_in(text)

    return FakeScorer(outcome)


async def test_some_failures_do_not_fail_the_request() -> None:
    ranking = await final(reranker(failing("x")), request(["x", "0.1"]))
    assert [result.reason for result in ranking.results] == [None, Reason.FAILED]


async def test_what_got_no_score_is_logged_in_one_line() -> None:
    texts = ["0.1", "x", "y", "no"]

    def outcome(text: str) -> Outcome:
        return Unscored(Reason.REFUSED) if text == "no" else failing("x", "y").outcome(text)

    with capture_logs() as logs:
        await final(reranker(FakeScorer(outcome)), request(texts))
    assert logs == [
        {
            "event": "documents without a score",
            "log_level": "warning",
            "model": "fake",
            "failed": 2,
            "refused": 1,
            "not_asked": 0,
            "why": [],
            "errors": [str(DOWN)],
        }
    ]


async def test_a_request_with_nothing_but_failures_fails() -> None:
    with pytest.raises(ProviderUnavailableError):
        await final(reranker(failing("x", "y")), request(["x", "y"]))


async def test_a_request_with_nothing_but_refusals_does_not() -> None:
    scorer = FakeScorer(lambda text: Unscored(Reason.REFUSED))
    ranking = await final(reranker(scorer), request(["x"]))
    assert ranking.results[0].reason is Reason.REFUSED


async def test_require_complete_raises_the_providers_error() -> None:
    with pytest.raises(ProviderUnavailableError):
        await final(reranker(failing("x")), request(["0.1", "x"], require_complete=True))


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.NOT_CACHED])
async def test_require_complete_names_every_document_without_a_score(reason: Reason) -> None:
    def outcome(text: str) -> Outcome:
        return Unscored(reason) if text == "no" else number_in(text)

    asked = request(["no", "0.1", "no"], require_complete=True)
    with pytest.raises(IncompleteError) as raised:
        await final(reranker(FakeScorer(outcome)), asked)
    assert [each.field for each in raised.value.unscored] == ["documents[0]", "documents[2]"]


async def test_the_first_error_in_the_requests_order_is_raised() -> None:
    errors = {"a": KeyRejectedError("key"), "b": DOWN}
    scorer = FakeScorer(lambda text: Unscored(Reason.FAILED, errors[text]))
    with pytest.raises(KeyRejectedError):
        await final(reranker(scorer), request(["a", "b"]))


async def test_out_of_time_the_best_ranking_so_far_is_the_answer() -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)])
    scorer.steps.put_nowait(scored(2, 0.5, Source.CACHE))
    (ranking,) = [each async for each in ranker.rerank(request(["a", "b", "c"]), seconds=0.05)]
    assert ranking.is_final
    assert order(ranking) == [2, 0, 1]
    assert [result.reason for result in ranking.results] == [None, Reason.PENDING, Reason.PENDING]
    assert scorer.closed.is_set()


async def test_out_of_time_partial_rankings_end_with_a_final_one() -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)], partial_interval=60.0)
    scorer.steps.put_nowait(scored(1, 0.5))
    rankings = ranker.rerank(request(["a", "b"], partial_results=True), seconds=0.05)
    found = [ranking async for ranking in rankings]
    assert [ranking.is_final for ranking in found] == [False, True]
    assert [order(ranking) for ranking in found] == [[1, 0], [1, 0]]
    assert scorer.closed.is_set()


async def test_out_of_time_no_more_partial_rankings_come_however_much_news_there_is() -> None:
    scorer = Steps()
    ranker = Reranker([Model("steps", "", scorer)], partial_interval=0.0)
    texts = [str(n) for n in range(50)]
    rankings = ranker.rerank(request(texts, partial_results=True), seconds=0.05)
    scorer.steps.put_nowait(scored(0, 0.5))
    assert not (await anext(rankings)).is_final
    time.sleep(0.1)  # a reader so slow that the time runs out  # noqa: ASYNC251
    for n in range(1, 50):
        scorer.steps.put_nowait(scored(n, 0.5))
    assert [ranking.is_final async for ranking in rankings] == [True]


async def test_out_of_time_before_anything_is_known() -> None:
    for partial in (False, True):
        ranker = Reranker([Model("steps", "", Steps())])
        asked = request(["a"], partial_results=partial)
        (ranking,) = [ranking async for ranking in ranker.rerank(asked, seconds=0)]
        assert ranking.results[0].reason is Reason.PENDING


async def test_out_of_time_require_complete_fails() -> None:
    ranker = Reranker([Model("steps", "", Steps())])
    with pytest.raises(OutOfTimeError, match="2 of the documents"):
        _ = [
            each
            async for each in ranker.rerank(request(["a", "b"], require_complete=True), seconds=0)
        ]


async def test_a_scorers_own_time_out_is_not_the_requests() -> None:
    scorer = Steps()
    scorer.steps.put_nowait(TimeoutError())
    ranker = Reranker([Model("steps", "", scorer)])
    with pytest.raises(TimeoutError):
        _ = [each async for each in ranker.rerank(request(["a"]), seconds=60)]


async def test_with_some_failed_and_some_pending_the_call_succeeds() -> None:
    scorer = Steps()
    scorer.steps.put_nowait(Progress(unscored={0: Unscored(Reason.FAILED, DOWN)}))
    ranker = Reranker([Model("steps", "", scorer)])
    (ranking,) = [each async for each in ranker.rerank(request(["a", "b"]), seconds=0.05)]
    assert [result.reason for result in ranking.results] == [Reason.FAILED, Reason.PENDING]
