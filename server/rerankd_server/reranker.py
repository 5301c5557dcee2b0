"""One request: ask the scorer, order what it says, yield rankings until the last one."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from rerankd_server.errors import (
    IncompleteError,
    OutOfTimeError,
    ProviderError,
    UnknownModelError,
    Violation,
)
from rerankd_server.off_loop import MANY, OffLoop
from rerankd_server.scoring.scorer import (
    PENDING,
    Ask,
    CacheMode,
    Detail,
    Documents,
    Progress,
    Reason,
    Score,
    Scorer,
    Source,
    Unscored,
    Usage,
)

_log = structlog.get_logger()

_MOST_ERRORS = 3
"""Different errors that one log line holds."""
_DETAILS = {
    Detail.CUT_OFF: ("were cut off", "does the model think first? set max_tokens"),
    Detail.EMPTY_REPLY: ("held no text", "does the model think first? set max_tokens"),
    Detail.UNREADABLE: ("held no label", "is it a model that follows instructions?"),
    Detail.DECLINED: ("declined", "do documents break the provider's rules?"),
}
"""What a reply without a score did, and what to do about many of them."""
_WHY = {
    Reason.NOT_CACHED: "is not cached, and the request asks for cached scores only",
    Reason.REFUSED: "was refused: the model declined, or its reply holds no score",
    Reason.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Model:
    """A scorer that requests may name."""

    name: str
    description: str
    scorer: Scorer
    kind: str = ""
    """How it scores, or what it makes of its parts."""
    parts: Sequence[str] = ()
    """Names of the models that it combines."""
    provider: str = ""
    provider_model: str = ""
    """The provider's name and the model's name there; empty where none is asked."""
    prompt_price_usd: float | None = None
    completion_price_usd: float | None = None
    """US dollars for a million tokens; None where not known, or where no model is asked."""


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One valid request."""

    query: str
    documents: Documents
    """In the first stage's order, which breaks ties."""
    model: str = ""
    """A model's name; empty means the default."""
    top_n: int = 0
    """How many results to give; 0 or less means all."""
    instruction: str = ""
    partial_results: bool = False
    require_complete: bool = False
    cache_mode: CacheMode = CacheMode.READ_WRITE


class Result(NamedTuple):
    """One document's place in a ranking."""

    position: int
    """Position in the request's documents."""
    score: float | None
    """0 to 1; None where there is no score."""
    source: Source | None
    reason: Reason | None
    """Why there is no score, or none but one that stands in for it; None where there is one."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A whole ranking, by column; documents without a score come last, in the request's order."""

    order: Sequence[int]
    """Positions in the request's documents, best first: the only column that is not by position."""
    scores: Sequence[float | None]
    sources: Sequence[Source | None]
    unscored: Mapping[int, Unscored]
    """Why there is no score, or none but one that stands in for it, by position."""
    is_final: bool
    model: str
    usage: Usage
    oldest: int | None = None
    """When the oldest of its scores was bought, Unix seconds, where it was made of stored ones
    alone: it would come out the same as long as they are."""
    recalled: Sequence[Score] | None = None
    """Its scores as they are stored, where each depends on its own document alone."""
    pairs: Sequence[bytes] | None = None
    """What stands for the pair of each of those, where that is known: see `Recalled`."""

    @property
    def results(self) -> Sequence[Result]:
        """The same by row, best first."""
        return [
            Result(
                n,
                self.scores[n],
                self.sources[n],
                self.unscored[n].reason if n in self.unscored else None,
            )
            for n in self.order
        ]


class Reranker:
    """Ranks candidates with one of `models`, the first being the default.

    With partial results, at least `partial_interval` seconds lie between two rankings.
    """

    def __init__(
        self,
        models: Sequence[Model],
        partial_interval: float = 0.05,
        off_loop: OffLoop | None = None,
    ) -> None:
        self.models: Mapping[str, Model] = {model.name: model for model in models}
        self.default = models[0]
        self._partial_interval = partial_interval
        self._off_loop = off_loop or OffLoop()

    def recall(self, request: RerankRequest) -> Ranking | None:
        """Give the ranking of `request` at once, where every score is in memory, or else None.

        It is the one that `rerank` would yield. Raises UnknownModelError.
        """
        model = self.find(request.model)
        ask = Ask(request.query, request.instruction, request.cache_mode)
        recalled = model.scorer.recall(ask, request.documents)
        if recalled is None:
            return None
        return self.reuse(recalled.found, request.model, request.top_n, recalled.pairs)

    def reuse(
        self, found: Sequence[Score], model: str, top_n: int, pairs: Sequence[bytes] | None = None
    ) -> Ranking:
        """Rank scores that were recalled, which are by position; those of equal pairs are one.

        `pairs` stand for their pairs, where that is known.
        """
        named = self.find(model)
        scores = [score.value for score in found]
        is_each_new = len({*map(id, found)}) == len(found)
        usage = named.scorer.had(
            found if is_each_new else {id(each): each for each in found}.values()
        )
        return Ranking(
            order=_order(scores, top_n),
            scores=scores,
            sources=[Source.CACHE] * len(scores),
            unscored={},
            is_final=True,
            model=named.name,
            usage=usage,
            oldest=min([score.scored_at for score in found]),
            recalled=found,
            pairs=pairs,
        )

    async def rerank(
        self, request: RerankRequest, seconds: float | None = None
    ) -> AsyncGenerator[Ranking]:
        """Yield rankings of `request`; the last one, or the only one, is final.

        After `seconds` the best ranking so far is the final one; what is sent by then goes on and
        is stored. Raises UnknownModelError; OutOfTimeError, IncompleteError or ProviderError where
        the request wants every score; ProviderError where the provider's failing left no document
        with a score.
        """
        stop = None if seconds is None else asyncio.get_running_loop().time() + seconds
        model = self.find(request.model)
        ask = Ask(request.query, request.instruction, request.cache_mode)
        board = _Board(request, model.name, ask)
        async with aclosing(model.scorer.score(ask, request.documents)) as progress:
            if request.partial_results:
                async with aclosing(self._partial(board, progress, stop)) as rankings:
                    async for ranking in rankings:
                        yield ranking
            else:
                async with _until(stop):
                    await board.follow(progress)
        is_large = len(request.documents) > MANY
        yield await self._off_loop.run(board.final) if is_large else board.final()

    def find(self, name: str) -> Model:
        """Give the model called `name`, or the default for "". Raises UnknownModelError."""
        if not name:
            return self.default
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModelError(name, self.models) from None

    async def _partial(
        self, board: "_Board", progress: AsyncGenerator[Progress], stop: float | None
    ) -> AsyncGenerator[Ranking]:
        """Yield a ranking whenever there is news and the interval since the last one is over.

        None before the first score: a call that fails may then be made again by gRPC itself. Ends
        at `stop`. No time-out may span a `yield`: it would strike whoever asks for rankings.
        """
        following = asyncio.create_task(board.follow(progress))
        try:
            while True:
                async with _until(stop):
                    await board.news.wait()
                if following.done():
                    await following
                    return
                if not board.news.is_set() or _is_over(stop):
                    return
                board.news.clear()
                if not board.has_scores:
                    continue
                yield board.ranking(is_final=False)
                async with _until(stop):
                    await asyncio.wait({following}, timeout=self._partial_interval)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _is_over(stop: float | None) -> bool:
    return stop is not None and asyncio.get_running_loop().time() >= stop


@asynccontextmanager
async def _until(stop: float | None) -> AsyncGenerator[None]:
    """Leave the body when the event loop's clock reaches `stop`, and go on behind it."""
    try:
        async with asyncio.timeout_at(stop) as timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise


def _order(scores: Sequence[float | None], top_n: int) -> Sequence[int]:
    """Give positions, best first. Equal scores keep the request's order: sorting is stable."""
    places = range(len(scores))
    scored = places if None not in scores else [n for n in places if scores[n] is not None]
    order = sorted(scored, key=scores.__getitem__, reverse=True)  # type: ignore[arg-type]
    if len(order) < len(scores):
        order += [n for n in places if scores[n] is None]
    return order[:top_n] if top_n > 0 else order


class _Board:
    """What is known of one request's candidates so far."""

    def __init__(self, request: RerankRequest, model: str, ask: Ask) -> None:
        count = len(request.documents)
        self._request = request
        self._model = model
        self._ask = ask
        self._scores: list[float | None] = [None] * count
        self._sources: list[Source | None] = [None] * count
        self._open = set(range(count))
        """Those whose outcome is not known, though some have a score that stands in for it."""
        self._unscored: dict[int, Unscored] = {}
        self.has_scores = False
        self._error: ProviderError | None = None
        """The first of those that left documents without a score."""
        self._usage = Usage()
        self.news = asyncio.Event()
        """Set with every outcome, and at the end."""

    async def follow(self, progress: AsyncGenerator[Progress]) -> None:
        """Take in outcomes until the last one, or the one that makes the request fail."""
        try:
            async for step in progress:
                self.note(step)
                self.news.set()
                if self._request.require_complete and self._error is not None:
                    return
        finally:
            self.news.set()

    def note(self, progress: Progress) -> None:
        """Take in outcomes."""
        scores, sources, source = self._scores, self._sources, progress.source
        for known in (progress.interim, progress.found):
            for index, score in known.items():
                scores[index] = score.value
                sources[index] = source
        self.has_scores = self.has_scores or bool(progress.interim or progress.found)
        self._unscored.update(progress.unscored)
        self._open.difference_update(progress.found, progress.unscored)
        for unscored in progress.unscored.values():
            self._error = self._error or unscored.error
        self._usage += progress.usage

    def ranking(self, *, is_final: bool, oldest: int | None = None) -> Ranking:
        """Order what is known."""
        order = _order(self._scores, self._request.top_n)
        unscored = {**dict.fromkeys(self._open, PENDING), **self._unscored}
        return Ranking(
            order,
            [*self._scores],
            [*self._sources],
            unscored,
            is_final,
            self._model,
            self._used() if is_final else self._usage,
            oldest,
        )

    def final(self) -> Ranking:
        """Order what is known in the end. Raises what makes the request fail; see `check`."""
        self.tell()
        self.check()
        return self.ranking(is_final=True, oldest=self.oldest())

    def _used(self) -> Usage:
        """Return all usage, with the calls that were sent and are left behind without an answer."""
        pending = self._ask.sent.count - self._usage.model_calls
        if pending <= 0:
            return self._usage
        return self._usage + Usage(model_calls=pending, pending_calls=pending)

    def oldest(self) -> int | None:
        """Give `Ranking.oldest`."""
        used = self._usage
        else_used = used.scored_pairs or used.shared_pairs or used.unscored_pairs
        if else_used or self._open or used.cached_pairs != len(self._ask.ages):
            return None
        return min(self._ask.ages, default=None)

    def tell(self) -> None:
        """Log what got no score though it was asked for: a line a request."""
        unscored = self._unscored.values()
        reasons = Counter(each.reason for each in unscored)
        failed, refused = reasons[Reason.FAILED], reasons[Reason.REFUSED]
        if failed or refused:
            errors = {str(each.error) for each in unscored if each.error}
            _log.warning(
                "documents without a score",
                model=self._model,
                failed=failed,
                refused=refused,
                not_asked=sum(not each.was_asked for each in unscored),
                why=list(_causes(unscored, self._usage.scored_pairs)),
                errors=sorted(errors)[:_MOST_ERRORS],
            )

    def check(self) -> None:
        """Raise what makes the request fail, now that no more outcomes are waited for."""
        pending = len(self._open)
        unscored = sorted(self._unscored.items())
        if self._request.require_complete:
            if self._error is not None:
                raise self._error
            if pending:
                raise OutOfTimeError(pending)
            if unscored:
                raise IncompleteError(
                    [Violation(f"documents[{i}]", _WHY[u.reason]) for i, u in unscored]
                )
        if self._error is not None and not self.has_scores and not pending:
            raise self._error


def _causes(unscored: Collection[Unscored], scored: int) -> Iterator[str]:
    """Say what was wrong with replies, with a count and a hint, the commonest first."""
    causes = Counter(each.detail for each in unscored if each.detail and each.was_asked)
    answers = causes.total() + scored
    for detail, count in causes.most_common():
        did, hint = _DETAILS[detail]
        limits = {each.max_tokens for each in unscored if each.detail is detail}
        at = f" at {limits.pop()} tokens" if len(limits) == 1 and limits != {None} else ""
        yield f"{count:,} of {answers:,} answers {did}{at}: {hint}"
