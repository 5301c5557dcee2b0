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

from rerankd_server.errors import DefectError, ProviderError, RequestRejectedError
from rerankd_server.logs import log_defect
from rerankd_server.scoring.dispatcher import Line
from rerankd_server.scoring.provider import BYTES_A_TOKEN, Errand
from rerankd_server.scoring.scorer import (
    Candidate,
    Progress,
    Reason,
    T,
    T_co,
    Unscored,
    Usage,
)


class Counted(Protocol):
    """A reply that says what it took."""

    @property
    def prompt_tokens(self) -> int:
        """As the provider counts them; 0 where it does not say."""

    @property
    def completion_tokens(self) -> int:
        """As the provider counts them; 0 where it does not say."""


_PATIENCE = 12
"""Candidates refused alone, one after the other, after which no candidate is at fault."""

R = TypeVar("R", bound=Counted)


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that one call is about."""

    positions: Sequence[int]
    tries: int = 0
    """How often they were asked about before."""

    def again(self) -> "Group":
        """Give the same candidates, asked about once more."""
        return Group(self.positions, self.tries + 1)

    def halves(self) -> Sequence["Group"]:
        """Give the same candidates as two groups, or as one where there is only one candidate."""
        middle = (len(self.positions) + 1) // 2
        parts = self.positions[:middle], self.positions[middle:]
        return [Group(part, self.tries) for part in parts if part]


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T_co]):
    """What a reply says of the group that it answers; what it says nothing of is asked again."""

    found: Mapping[int, T_co]
    unscored: Mapping[int, Unscored] = field(default_factory=dict)
    again: Sequence[Group] = ()


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[R, T]):
    """`send` sends an errand, `write` its body, and `read` reads the reply to it."""

    send: Callable[[Errand], Awaitable[R | None]]
    write: Callable[[Sequence[Candidate]], Mapping[str, Any]]
    read: Callable[[R, Group], Verdict[T]]
    overhead: int = 0
    """Bytes of a prompt beside its candidates' texts."""

    async def run(
        self, candidates: Sequence[Candidate], groups: Sequence[Group], workers: int
    ) -> AsyncGenerator[Progress[T]]:
        """Yield the outcome of each candidate of `groups`, at most `workers` calls at a time.

        Once every further call would fail, what is not sent yet is not sent. A group whose call the
        provider refuses is asked about in halves, so that it fails for the refused one alone.
        """
        round_: _Round[T] = _Round(candidates, deque(groups), workers)
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
            progress, again = await self._ask(round_, round_.waiting.popleft())
            round_.waiting.extendleft(reversed(again))
            if round_.answered:  # until then, one by one: all may be refused alike
                self._start(round_, len(round_.waiting) - 1)
            round_.done.put_nowait((progress, len(again) - 1))

    async def _ask(self, round_: "_Round[T]", group: Group) -> tuple[Progress[T], Sequence[Group]]:
        """Ask about `group`; gives what came of it, and what to ask about again."""
        candidates = round_.candidates
        wanted = [p for p in group.positions if candidates[p].wanted()]
        if not wanted:
            return Progress(), ()
        claimed: list[int] = []

        def claim() -> bool:
            if round_.lost is None:
                claimed[:] = [p for p in wanted if candidates[p].claim()]
            return round_.lost is None and bool(claimed)

        errand = Errand(
            write=lambda: self.write([candidates[p] for p in claimed]),
            wanted=lambda: round_.lost is None and any(candidates[p].wanted() for p in wanted),
            claim=claim,
            line=round_.line,
            tokens=self._tokens([candidates[p] for p in wanted]),
        )
        try:
            reply = await self.send(errand)
            if reply is None:
                lost = round_.lost
                return _failed(wanted, lost, errand.calls) if lost else Progress(), ()
            verdict = self.read(reply, Group(claimed, group.tries))
        except ProviderError as error:
            asked = Group(claimed or wanted, group.tries)
            if round_.may_be_of_one(error, len(asked.positions)):
                return Progress(usage=Usage(model_calls=errand.calls)), asked.halves()
            return _failed(asked.positions, error, errand.calls), ()
        except Exception as error:  # noqa: BLE001  # one group's defect is its own
            log_defect(error)
            return _failed(claimed or wanted, DefectError(), errand.calls), ()
        round_.answered, round_.refused = True, 0
        usage = Usage(
            scored_pairs=len(verdict.found),
            unscored_pairs=len(verdict.unscored),
            model_calls=errand.calls,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )
        return Progress(verdict.found, verdict.unscored, usage=usage), verdict.again

    def _tokens(self, candidates: Sequence[Candidate]) -> float:
        return (self.overhead + sum(len(c.text.encode()) for c in candidates)) / BYTES_A_TOKEN


@dataclass(slots=True)
class _Round(Generic[T]):
    """What one request's calls share."""

    candidates: Sequence[Candidate]
    waiting: deque[Group]
    """Groups that are still to be asked about."""
    workers: int
    """Most tasks."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    done: asyncio.Queue[tuple[Progress[T], int]] = field(default_factory=asyncio.Queue)
    """Outcomes, and how many groups more there are to be asked about."""
    line: Line = field(default_factory=Line)
    lost: ProviderError | None = None
    """Why no further call is worth sending."""
    answered: bool = False
    """Whether any call was."""
    refused: int = 0
    """Candidates that were refused alone, one after the other, without an answer between them."""

    def may_be_of_one(self, error: ProviderError, count: int) -> bool:
        """Take note of `error`; gives whether it may be the fault of one candidate of `count`."""
        if error.stops_everything:
            self.lost = self.lost or error
        if not isinstance(error, RequestRejectedError) or error.stops_everything:
            return False
        self.refused += count == 1
        return count > 1 and self.refused < _PATIENCE


def _failed(positions: Sequence[int], error: ProviderError, calls: int) -> Progress[T]:
    unscored = dict.fromkeys(positions, Unscored(Reason.FAILED, error))
    return Progress(
        unscored=unscored, usage=Usage(unscored_pairs=len(positions), model_calls=calls)
    )


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
