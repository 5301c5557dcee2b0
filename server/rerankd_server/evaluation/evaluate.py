"""The evaluation: ranks every query with every model, and measures quality and costs."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rerankd import AsyncClient, Options
from rerankd_server.evaluation.asking import (
    Answer,
    EvaluationError,
    Ranker,
    Sleep,
    ask,
)
from rerankd_server.evaluation.collection import Collection, Query
from rerankd_server.evaluation.costs import Costs
from rerankd_server.evaluation.measures import MEASURES, NDCG, Quality, measure

_NORMAL_95 = 1.96
"""Standard errors either side of a mean that hold 95 % of a normal distribution."""

OnAnswer = Callable[[str, Answer], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How one model ranks a collection; `answers` and `qualities` are in the queries' order."""

    model: str
    answers: Sequence[Answer]
    qualities: Sequence[Quality]
    costs: Costs
    seconds: float
    """For all queries, several at once."""

    def values(self, name: str) -> Sequence[float]:
        """Give each query's value of a measure."""
        return [quality[name] for quality in self.qualities]

    def mean(self, name: str) -> float:
        """Give a measure's mean over the queries."""
        return statistics.fmean(self.values(name))

    @property
    def margin(self) -> float | None:
        """Half a 95 % interval of the mean nDCG@10: 1.96 standard errors. None for one query."""
        values = self.values(NDCG)
        if len(values) < 2:
            return None
        return float(_NORMAL_95 * statistics.stdev(values) / len(values) ** 0.5)

    @property
    def median_seconds(self) -> float:
        """Seconds that half of the queries were answered in."""
        return statistics.median(answer.seconds for answer in self.answers)


async def choose_models(client: AsyncClient, names: Sequence[str]) -> Sequence[str]:
    """Give the models to evaluate: each of `names` once, or the server's default.

    Raises EvaluationError where the server does not list one of them, and RerankError.
    """
    listed = await client.models()
    known = [model.name for model in listed]
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"--model: the server has no {name!r}; it has: {', '.join(known)}"
            )
    return list(dict.fromkeys(names)) or [model.name for model in listed if model.is_default]


async def evaluate(
    ranker: Ranker,
    collection: Collection,
    models: Sequence[str],
    *,
    instruction: str = "",
    relevant: int = 1,
    concurrency: int = 4,
    on_answer: OnAnswer | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Sequence[Evaluation]:
    """Evaluate the models one after another, best nDCG@10 first.

    `relevant` is the least label that counts for MRR and recall; `concurrency` is how many queries
    are in flight; `on_answer` is told each answer as it comes. Raises EvaluationError.
    """
    evaluations = []
    for model in models:
        options: Options = {"model": model, "instruction": instruction}
        started = time.perf_counter()
        answers = await _answers(ranker, collection, options, concurrency, on_answer, sleep)
        seconds = time.perf_counter() - started
        qualities = measure([(answer.query, answer.order) for answer in answers], relevant)
        costs = sum((answer.costs for answer in answers), Costs())
        evaluations.append(Evaluation(model, answers, qualities, costs, seconds))
    return sorted(evaluations, key=lambda each: [-each.mean(name) for name in MEASURES])


async def _answers(
    ranker: Ranker,
    collection: Collection,
    options: Options,
    concurrency: int,
    on_answer: OnAnswer | None,
    sleep: Sleep,
) -> Sequence[Answer]:
    found: dict[int, Answer] = {}
    waiting = iter(enumerate(collection.queries))

    async def work(queries: Iterator[tuple[int, Query]]) -> None:
        for position, query in queries:
            found[position] = await ask(ranker, query, options, sleep)
            if on_answer is not None:
                on_answer(options["model"], found[position])

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(work(waiting))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [found[position] for position in range(len(collection.queries))]
