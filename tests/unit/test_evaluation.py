"""The evaluation against a server that does as a test tells it: answers, pauses, costs."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from typing import Unpack

import pytest
from rich.console import Console

from grpc import StatusCode
from rerankd import (
    Document,
    Options,
    Ranking,
    RerankError,
    ResourceExhaustedError,
    Result,
    ScoreSource,
    UnavailableError,
    UnscoredReason,
    Usage,
)
from rerankd_server.commands.evaluate import run_lines
from rerankd_server.commands.progress import progress
from rerankd_server.commands.table import printable
from rerankd_server.evaluation.asking import LONGEST_WAIT, MOST_TRIES, Answer, EvaluationError
from rerankd_server.evaluation.collection import Candidate, Collection, Query
from rerankd_server.evaluation.costs import Costs, costs_of
from rerankd_server.evaluation.evaluate import Evaluation, evaluate
from rerankd_server.evaluation.measures import MRR
from rerankd_server.evaluation.significance import compare

COLLECTION = Collection(
    "c",
    [
        Query(str(n), f"q{n}", [Candidate("a", "bad", 0, 1.5), Candidate("b", "good", 1)])
        for n in range(6)
    ],
)


def ranking(
    order: Sequence[int], usage: Usage | None = None, reason: UnscoredReason | None = None
) -> Ranking:
    """A reply; where there is a `reason`, the last document has no score."""
    results = [Result(index, "", 0.5, ScoreSource.MODEL, None, None) for index in order]
    if reason:
        results[-1] = Result(order[-1], "", None, None, reason, None)
    return Ranking(results, is_final=True, model="m", usage=usage or Usage())


class FakeRanker:
    """Replies to each query with the next of its `script`, which is the same for all queries."""

    def __init__(self, *script: Ranking | RerankError) -> None:
        self._script = script
        self._asked: dict[tuple[str, str], int] = {}
        self.calls: list[tuple[str, Sequence[str | Document], Options]] = []
        self.in_flight = self.most_in_flight = 0

    async def rerank(
        self, query: str, documents: Sequence[str | Document], **options: Unpack[Options]
    ) -> Ranking:
        self.calls.append((query, documents, options))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        asked = self._asked.get((options["model"], query), 0)
        self._asked[options["model"], query] = asked + 1
        reply = self._script[min(asked, len(self._script) - 1)]
        if isinstance(reply, RerankError):
            raise reply
        return reply


class Pauses(list[float]):
    """Notes how long somebody would have slept."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def refused(
    kind: type[RerankError] = ResourceExhaustedError, retry_after: float | None = 2.5
) -> RerankError:
    return kind("too much at once", StatusCode.RESOURCE_EXHAUSTED, retry_after=retry_after)


GOOD, BAD = ranking([1, 0]), ranking([0, 1])


async def test_every_query_is_ranked_by_every_model() -> None:
    ranker = FakeRanker(GOOD)
    found = await evaluate(ranker, COLLECTION, ["m", "n"], instruction="only bees")
    assert [each.model for each in found] == ["m", "n"]
    for each in found:
        assert [answer.query for answer in each.answers] == COLLECTION.queries
        assert each.mean(MRR) == 1
    assert ranker.calls[0] == (
        "q0",
        [Document("bad", "a", 1.5), Document("good", "b")],
        {"model": "m", "instruction": "only bees"},
    )
    assert [options["model"] for _, _, options in ranker.calls] == ["m"] * 6 + ["n"] * 6


class ByModel:
    async def rerank(
        self, query: str, documents: Sequence[str | Document], **options: Unpack[Options]
    ) -> Ranking:
        return GOOD if options["model"] == "good" else BAD


async def test_the_best_model_is_first() -> None:
    found = await evaluate(ByModel(), COLLECTION, ["worse", "good", "worse as well"])
    assert [each.model for each in found] == ["good", "worse", "worse as well"]
    comparisons = compare(found)
    assert [(each.best, each.other) for each in comparisons] == [
        ("good", "worse"),
        ("good", "worse as well"),
    ]
    # Of 2 ** 6 ways two are as far apart; three times that, as there are three pairs.
    assert [each.p_value for each in comparisons] == pytest.approx([6 / 64, 6 / 64])
    assert comparisons[0].difference == pytest.approx(1 - 0.6309298)
    assert compare(found[:1]) == []


async def test_so_many_queries_are_in_flight() -> None:
    ranker = FakeRanker(GOOD)
    await evaluate(ranker, COLLECTION, ["m"], concurrency=3)
    assert ranker.most_in_flight == 3


async def test_each_answer_is_told() -> None:
    told: list[tuple[str, str]] = []
    await evaluate(
        FakeRanker(GOOD),
        COLLECTION,
        ["m"],
        concurrency=1,
        on_answer=lambda model, answer: told.append((model, answer.query.id)),
    )
    assert told == [("m", str(n)) for n in range(6)]


class TestPauses:
    @pytest.mark.parametrize("kind", [ResourceExhaustedError, UnavailableError])
    async def test_the_server_says_when_to_ask_again(self, kind: type[RerankError]) -> None:
        pauses = Pauses()
        found = await evaluate(
            FakeRanker(refused(kind), GOOD), COLLECTION, ["m"], concurrency=2, sleep=pauses
        )
        assert found[0].mean(MRR) == 1
        assert pauses == [2.5] * 6

    async def test_it_is_asked_a_bounded_number_of_times(self) -> None:
        pauses, ranker = Pauses(), FakeRanker(refused())
        with pytest.raises(EvaluationError, match="query '0': asked for 8 times: too much"):
            await evaluate(ranker, COLLECTION, ["m"], concurrency=1, sleep=pauses)
        assert len(ranker.calls) == len(pauses) == MOST_TRIES

    @pytest.mark.parametrize(
        "error",
        [
            refused(retry_after=None),
            refused(retry_after=LONGEST_WAIT + 1),
            refused(UnavailableError, None),
            refused(RerankError),
        ],
    )
    async def test_other_errors_end_the_evaluation(self, error: RerankError) -> None:
        ranker, pauses = FakeRanker(error), Pauses()
        with pytest.raises(EvaluationError, match="query '0': too much at once") as raised:
            await evaluate(ranker, COLLECTION, ["m"], concurrency=1, sleep=pauses)
        assert raised.value.cause is error
        assert (len(ranker.calls), pauses) == (1, [])

    async def test_one_failure_of_several_is_told(self) -> None:
        with pytest.raises(EvaluationError, match="query '"):
            await evaluate(FakeRanker(refused(RerankError)), COLLECTION, ["m"], concurrency=6)

    async def test_what_a_deadline_cut_short_is_asked_for_again(self) -> None:
        pauses = Pauses()
        ranker = FakeRanker(
            ranking([0, 1], Usage(scored_pairs=1, cost_usd=1.0), UnscoredReason.PENDING),
            ranking([1, 0], Usage(cached_pairs=1, scored_pairs=1, cost_usd=2.0, saved_usd=1.0)),
        )
        [found] = await evaluate(ranker, COLLECTION, ["m"], sleep=pauses)
        assert found.mean(MRR) == 1
        assert pauses == []
        assert found.costs == Costs(12, 0, 0, 0, 0, 0, 18.0, 18.0)
        with pytest.raises(EvaluationError, match="give a longer --timeout"):
            await evaluate(
                FakeRanker(ranking([0, 1], None, UnscoredReason.PENDING)), COLLECTION, ["m"]
            )

    async def test_the_last_reason_is_told(self) -> None:
        pending = ranking([0, 1], None, UnscoredReason.PENDING)
        with pytest.raises(EvaluationError, match="give a longer --timeout") as raised:
            await evaluate(FakeRanker(refused(), pending), COLLECTION, ["m"], sleep=Pauses())
        assert raised.value.cause is None

    async def test_a_document_that_stays_without_a_score_is_no_reason_to_ask_again(self) -> None:
        usage = Usage(scored_pairs=1, unscored_pairs=1)
        ranker = FakeRanker(ranking([1, 0], usage, UnscoredReason.REFUSED))
        [found] = await evaluate(ranker, COLLECTION, ["m"])
        assert len(ranker.calls) == 6
        assert found.costs.unscored_pairs == 6


class TestCosts:
    BOUGHT = Usage(
        scored_pairs=4,
        unscored_pairs=1,
        model_calls=5,
        prompt_tokens=100,
        completion_tokens=10,
        cost_usd=3.0,
        saved_usd=0.0,
    )
    CACHED = Usage(
        cached_pairs=3,
        shared_pairs=1,
        cost_usd=0.0,
        saved_usd=3.0,
        saved_prompt_tokens=100,
        saved_completion_tokens=10,
    )

    def test_what_is_bought_and_what_is_cached_is_worth_the_same(self) -> None:
        bought, cached = costs_of([self.BOUGHT]), costs_of([self.CACHED])
        assert bought == Costs(5, 0, 1, 5, 110, 110, 3.0, 3.0, 100)
        assert cached == Costs(4, 4, 0, 0, 0, 110, 0.0, 3.0, 100)
        assert (bought.saved_usd, cached.saved_usd) == (0, 3)
        assert bought + cached == Costs(9, 4, 1, 5, 110, 220, 3.0, 6.0, 200)

    def test_what_an_earlier_try_bought_is_counted_once(self) -> None:
        assert costs_of([self.BOUGHT, self.CACHED]) == Costs(4, 0, 0, 5, 110, 110, 3.0, 3.0, 100)

    def test_unknown_is_not_nothing(self) -> None:
        unknown = costs_of([Usage(scored_pairs=1, saved_usd=0.0)])
        assert unknown == Costs(1, spent_usd=None, full_usd=None)
        for total in (unknown + Costs(), Costs() + unknown):
            assert (total.spent_usd, total.full_usd, total.saved_usd) == (None, None, None)
        assert costs_of([Usage(cost_usd=1.0)]).saved_usd is None


class TestProgress:
    ANSWER = Answer(COLLECTION.queries[0], [0, 1], Costs(spent_usd=0.25), 0.1)

    @pytest.mark.parametrize("spent", [0.25, None])
    def test_a_terminal_sees_queries_and_dollars(self, spent: float | None) -> None:
        drawn = StringIO()
        answer = replace(self.ANSWER, costs=Costs(spent_usd=spent))
        with progress(6, Console(file=drawn, force_terminal=True, width=100)) as on_answer:
            on_answer("m", answer)
            on_answer("m", answer)
        assert "2/6" in drawn.getvalue()
        assert ("$0.50 spent" in drawn.getvalue()) == (spent is not None)

    def test_a_name_cannot_command_the_terminal(self) -> None:
        assert printable("gpt \x1b[2J\x9b é") == "gpt \ufffd[2J\ufffd é"

    def test_a_file_sees_nothing(self) -> None:
        drawn = StringIO()
        with progress(6, Console(file=drawn)) as on_answer:
            on_answer("m", self.ANSWER)
        assert drawn.getvalue() == ""


def test_a_run_has_the_order_of_the_ranking_and_its_model() -> None:
    answer = Answer(COLLECTION.queries[0], [1, 0], Costs(), 0.1)
    assert list(run_lines(Evaluation("gpt 4\no", [answer], [], Costs(), 1.0))) == [
        "0 Q0 b 1 2 gpt4o\n",
        "0 Q0 a 2 1 gpt4o\n",
    ]


def test_the_margin_is_of_the_mean() -> None:
    def evaluation(*values: float) -> Evaluation:
        return Evaluation("m", [], [{"nDCG@10": value} for value in values], Costs(), 0)

    assert evaluation(0.2, 0.4, 0.6).margin == pytest.approx(1.96 * 0.2 / 3**0.5)
    assert evaluation(0.2).margin is None
