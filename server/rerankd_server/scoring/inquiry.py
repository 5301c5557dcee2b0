"""One request's calls to one model: each is about a group of candidates, and some are under way.

What asks one question a document, several a prompt, or for embeddings differs in what it writes
and how it reads the reply. All else is here: turns, candidates that nobody wants any more, groups
that have to be asked about again, and failures, which are outcomes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from rerankd_server.errors import (
    DefectError,
    ProviderError,
    ProviderUnavailableError,
    RequestRejectedError,
)
from rerankd_server.logs import log_defect
from rerankd_server.scoring.breaker import Breaker, Caller, Go
from rerankd_server.scoring.dispatcher import Line
from rerankd_server.scoring.groups import Group, Verdict
from rerankd_server.scoring.learning import SizeLimit
from rerankd_server.scoring.provider import BYTES_A_TOKEN, FAILS
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Progress,
    Reason,
    T,
    Unscored,
    Usage,
)
from rerankd_server.scoring.sending import Errand


class Counted(Protocol):
    """A reply that says what it took."""

    @property
    def prompt_tokens(self) -> int:
        """As the provider counts them; 0 where it does not say."""

    @property
    def completion_tokens(self) -> int:
        """As the provider counts them; 0 where it does not say."""


_FRESH = (CacheMode.REFRESH, CacheMode.BYPASS)
"""Modes of requests that want the model's own word."""

R = TypeVar("R", bound=Counted)


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[R, T]):
    """`send` sends an errand, `write` its body, and `read` reads the reply to it.

    `breaker` guards the calls of all requests to the same scorer, and `limit` bounds their groups.
    """

    send: Callable[[Errand], Awaitable[R | None]]
    write: Callable[[Sequence[Candidate]], Mapping[str, Any]]
    read: Callable[[R, Group], Verdict[T]]
    overhead: int = 0
    """Bytes of a prompt beside its candidates' texts."""
    breaker: Breaker = field(default_factory=Breaker)
    limit: SizeLimit = field(default_factory=SizeLimit)

    async def run(
        self, ask: Ask, candidates: Sequence[Candidate], groups: Sequence[Group], workers: int
    ) -> AsyncGenerator[Progress[T]]:
        """Yield the outcome of each candidate of `groups`, at most `workers` calls at a time.

        Once every further call would fail, what is not sent yet is not sent. A group whose call the
        provider refuses is asked about in halves, so that it fails for the refused one alone.
        """
        caller = Caller(insists=ask.cache_mode in _FRESH)
        round_: _Round[T] = _Round(ask, candidates, deque(groups), workers, caller)
        self._start(round_, len(groups))
        try:
            left = len(groups)
            while left:
                news = [await round_.done.get()]
                while not round_.done.empty():
                    news.append(round_.done.get_nowait())
                left += sum(change for _, change in news)
                yield _together([progress for progress, _ in news])
        finally:
            tasks = round_.tasks
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, round_: "_Round[T]", more: int) -> None:
        """Have more tasks work, as far as there may be."""
        for _ in range(min(more, round_.workers - len(round_.tasks))):
            task = asyncio.create_task(self._work(round_))
            round_.tasks.add(task)
            task.add_done_callback(round_.tasks.discard)

    async def _work(self, round_: "_Round[T]") -> None:
        while round_.waiting:
            go = await self.breaker.enter(round_.caller)
            if go is Go.STOP:
                round_.stop(self.breaker.outcome)
                return
            try:
                if not round_.waiting:
                    return
                is_probe = go is Go.PROBE
                group = round_.probe() if is_probe else round_.take(self.limit.most)
                progress, again = await self._ask(round_, group, is_probe=is_probe)
            finally:
                self.breaker.leave()
            round_.waiting.extendleft(reversed(again))
            if round_.answered:  # until then, one by one: all may be refused alike
                self._start(round_, len(round_.waiting) - 1)
            round_.done.put_nowait((progress, len(again) - 1))

    async def _ask(
        self, round_: "_Round[T]", group: Group, *, is_probe: bool
    ) -> tuple[Progress[T], Sequence[Group]]:
        """Ask about `group`; returns what came of it, and what to ask about again."""
        candidates = round_.candidates
        wanted = [p for p in group.positions if candidates[p].wanted()]
        if not wanted:
            return Progress(), ()
        claimed: list[int] = []

        def is_open() -> bool:
            return round_.lost is None and (is_probe or not self.breaker.is_tripped)

        def claim() -> bool:
            if is_open():
                claimed[:] = [p for p in wanted if candidates[p].claim()]
            return is_open() and bool(claimed)

        errand = Errand(
            write=lambda: self.write([candidates[p] for p in claimed]),
            wanted=lambda: is_open() and any(candidates[p].wanted() for p in wanted),
            claim=claim,
            line=round_.line,
            tokens=self._tokens([candidates[p] for p in wanted]),
            sent=round_.ask.sent,
            is_divisible=lambda: len(claimed) > 1,
        )
        try:
            reply = await self.send(errand)
            if reply is None:
                return self._not_sent(round_, group, wanted, errand)
            verdict = self.read(reply, Group(claimed, group.tries))
        except ProviderError as error:
            asked = Group(claimed or wanted, group.tries)
            return self._failed(round_, asked, error, errand)
        except Exception as error:  # noqa: BLE001  # one group's defect is its own
            log_defect(error)
            return _unscored(claimed or wanted, DefectError(), errand), ()
        round_.answered = True
        self._tell_breaker(verdict)
        self._tell_limit(group)
        usage = _usage(errand, scored=len(verdict.found), unscored=len(verdict.unscored))
        return Progress(verdict.found, verdict.unscored, usage=usage), verdict.again

    def _not_sent(
        self, round_: "_Round[T]", group: Group, wanted: Sequence[int], errand: Errand
    ) -> tuple[Progress[T], Sequence[Group]]:
        """Return what becomes of a group whose call was not sent, or not again."""
        if round_.lost:
            return _unscored(wanted, round_.lost, errand), ()
        progress: Progress[T] = Progress(usage=_usage(errand))
        if self.breaker.is_tripped:
            return progress, [group]  # until the breaker knows more
        return progress, ()

    def _failed(
        self, round_: "_Round[T]", group: Group, error: ProviderError, errand: Errand
    ) -> tuple[Progress[T], Sequence[Group]]:
        """Return what becomes of a group whose call failed: halves, where one may be at fault."""
        if error.stops_everything:
            round_.lost = round_.lost or error
        is_refused = isinstance(error, RequestRejectedError)
        if is_refused:
            self.breaker.failed(Unscored(Reason.FAILED, error))
        is_at_fault = isinstance(error, ProviderUnavailableError) and error.status == FAILS
        is_of_one = (is_refused or is_at_fault) and not error.stops_everything
        if is_of_one and len(group.positions) > 1:
            return Progress(usage=_usage(errand)), group.halves()
        return _unscored(group.positions, error, errand), ()

    def _tell_breaker(self, verdict: Verdict[T]) -> None:
        if verdict.found:
            self.breaker.scored()
        elif wrong := verdict.wrong or next(iter(verdict.unscored.values()), None):
            self.breaker.failed(wrong)

    def _tell_limit(self, group: Group) -> None:
        if group.halved is not None:
            group.halved.answered += 1
            if group.halved.answered == 2:
                self.limit.learn(len(group.positions))

    def _tokens(self, candidates: Sequence[Candidate]) -> float:
        return (self.overhead + sum(len(c.text.encode()) for c in candidates)) / BYTES_A_TOKEN


@dataclass(slots=True)
class _Round(Generic[T]):
    """What one request's calls share."""

    ask: Ask
    candidates: Sequence[Candidate]
    waiting: deque[Group]
    """Groups that are still to be asked about."""
    workers: int
    """Most tasks."""
    caller: Caller
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    done: asyncio.Queue[tuple[Progress[T], int]] = field(default_factory=asyncio.Queue)
    """Outcomes, and how many groups more there are to be asked about."""
    line: Line = field(default_factory=Line)
    lost: ProviderError | None = None
    """Why no further call is worth sending."""
    answered: bool = False
    """Whether any call was."""
    from_end: bool = False
    """Where the last probe was taken from."""

    def probe(self) -> Group:
        """Take one candidate out, from either end in turns: what was refused may stand together."""
        self.from_end = not self.from_end
        if self.from_end:
            self.waiting.rotate(1)
        return self.take(1)

    def take(self, most: int) -> Group:
        """Take the next group out, or so many of it."""
        group = self.waiting.popleft()
        if len(group.positions) <= most:
            return group
        first, *rest = group.split(most)
        self.waiting.extendleft(reversed(rest))
        self.done.put_nowait((Progress(), len(rest)))
        return first

    def stop(self, outcome: Unscored) -> None:
        """End all that is still to be asked about with `outcome`."""
        positions = [p for group in self.waiting for p in group.positions]
        wanted = [p for p in positions if self.candidates[p].wanted()]
        usage = Usage(unscored_pairs=len(wanted))
        progress: Progress[T] = Progress(unscored=dict.fromkeys(wanted, outcome), usage=usage)
        self.done.put_nowait((progress, -len(self.waiting)))
        self.waiting.clear()


def _usage(errand: Errand, *, scored: int = 0, unscored: int = 0) -> Usage:
    """Return what an errand has spent, and what came of it."""
    return Usage(
        scored_pairs=scored,
        unscored_pairs=unscored,
        model_calls=errand.calls,
        prompt_tokens=errand.prompt_tokens,
        completion_tokens=errand.completion_tokens,
    )


def _unscored(positions: Sequence[int], error: ProviderError, errand: Errand) -> Progress[T]:
    unscored = dict.fromkeys(positions, Unscored(Reason.FAILED, error))
    return Progress(unscored=unscored, usage=_usage(errand, unscored=len(positions)))


def _together(news: Sequence[Progress[T]]) -> Progress[T]:
    """Gather what became known together."""
    if len(news) == 1:
        return news[0]
    found: dict[int, T] = {}
    unscored: dict[int, Unscored] = {}
    usage = Usage()
    for progress in news:
        found.update(progress.found)
        unscored.update(progress.unscored)
        usage += progress.usage
    return Progress(found, unscored, usage=usage)
