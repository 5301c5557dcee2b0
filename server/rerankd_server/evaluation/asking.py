"""Asks a server to rank a query until every document is done, through pauses and deadlines."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Unpack

from rerankd import (
    Document,
    Options,
    Ranking,
    RerankError,
    ResourceExhaustedError,
    UnavailableError,
    UnscoredReason,
    Usage,
)
from rerankd_server.evaluation.collection import Query
from rerankd_server.evaluation.costs import Costs, costs_of

MOST_TRIES = 8
"""How often a query is asked for before the evaluation stops."""
LONGEST_WAIT = 600.0
"""Seconds: a server that wants a longer pause ends the evaluation."""

Sleep = Callable[[float], Awaitable[None]]


class EvaluationError(Exception):
    """A query that cannot be ranked; the message names it, and `cause` is the server's reason."""

    def __init__(self, message: str, cause: RerankError | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class Ranker(Protocol):
    """What is asked: an AsyncClient, or what stands in for it."""

    async def rerank(
        self, query: str, documents: Sequence[str | Document], **options: Unpack[Options]
    ) -> Ranking:
        """Rank documents. Raises RerankError."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a server ranks one query."""

    query: Query
    order: Sequence[int]
    """Positions in the query's candidates, best first."""
    costs: Costs
    seconds: float
    """From the first time it was asked to the whole ranking, pauses included."""


async def ask(ranker: Ranker, query: Query, options: Options, sleep: Sleep) -> Answer:
    """Get the whole ranking of a query.

    Asks again where the server says when, and where a deadline cut the ranking short: what is
    scored by then is cached. Raises EvaluationError where that does not help.
    """
    documents = [Document(each.text, each.id, each.prior_score) for each in query.candidates]
    replies: list[Usage] = []
    refusal: RerankError | None = None
    started = time.perf_counter()
    for _ in range(MOST_TRIES):
        try:
            ranking = await ranker.rerank(query.text, documents, **options)
        except RerankError as error:
            if (pause := _pause(error)) is None:
                raise EvaluationError(f"query {query.id!r}: {error}", error) from None
            refusal = error
            await sleep(pause)
            continue
        replies.append(ranking.usage)
        if not any(each.unscored_reason is UnscoredReason.PENDING for each in ranking):
            order = [result.index for result in ranking]
            return Answer(query, order, costs_of(replies), time.perf_counter() - started)
        refusal = None
    why = refusal or "its time was over before every document was scored; give a longer --timeout"
    raise EvaluationError(f"query {query.id!r}: asked for {MOST_TRIES} times: {why}", refusal)


def _pause(error: RerankError) -> float | None:
    """Give the seconds after which a refused query may be asked for again; None: never."""
    wait = error.retry_after
    if wait is None or wait > LONGEST_WAIT:
        return None
    return wait if isinstance(error, ResourceExhaustedError | UnavailableError) else None
