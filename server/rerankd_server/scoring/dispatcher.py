"""Whose call is sent next, and when: everything that one model is asked goes through here.

Each request has a line, and the lines take turns, call by call: so one document waits for a call of
each other request, and not for all of them. A turn comes when fewer calls are in flight than may
be, when what the settings and the provider's headers allow is not used up, and when the provider is
not to be left alone for a while.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from rerankd_server.background import Background
from rerankd_server.clock import Clock, Handle
from rerankd_server.condition import Condition
from rerankd_server.errors import ProviderError
from rerankd_server.scoring.backoff import Backoff
from rerankd_server.scoring.pace import Quota, Sent, Window, read_limit
from rerankd_server.scoring.retrying import THE_PROVIDER, PassingError

_log = structlog.get_logger()


_SLOWLY = 0.05
"""Seconds between two calls to a model that has not answered yet."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much one model of a provider is asked."""

    concurrency: int = 32
    """Most calls in flight."""
    at_first: int = 3
    """Calls that go at once before any was answered. Further ones follow slowly until one is: a
    wrong key or address is to cost few."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Most sent in any minute; None leaves it to the provider."""
    longest_wait: float = 60.0
    """Seconds: for the end of a longer pause nobody waits."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to send one call."""

    at: float
    era: int
    """See `Backoff`."""
    tokens: Sent
    """How many it was thought to take."""
    calls_sent: float
    tokens_sent: float
    """All that was sent until then, this call included."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One call that waits for its turn."""

    wanted: Callable[[], bool]
    claim: Callable[[], bool]
    tokens: float
    turn: asyncio.Future[Turn | None]


class Line:
    """The calls of one request that wait for their turn, first come first served."""

    def __init__(self) -> None:
        self.calls: deque[_Waiting] = deque()


class Dispatcher:
    """Gives turns to call one model of a provider.

    `condition` tells whether it is given up on, and that `doing` fails; `who` names the provider.
    In `background` sending waits for its turn: to send a call takes most of a millisecond.
    """

    def __init__(
        self,
        allowance: Allowance,
        clock: Clock,
        condition: Condition | None = None,
        doing: str = "calls",
        who: str = THE_PROVIDER,
        background: Background | None = None,
    ) -> None:
        self.condition = condition or Condition("provider")
        self._background = background or Background()
        self._doing = doing
        self._who = who
        self._allowance = allowance
        self._clock = clock
        self._lines: deque[Line] = deque()
        """Those where somebody waits, the next first."""
        self._in_flight = 0
        self._is_known = False
        """Whether a call was ever answered."""
        self._sent_at = -math.inf
        """When the last call was."""
        self._backoff = Backoff(allowance.concurrency)
        self._call_quota = Quota()
        self._token_quota = Quota()
        self._call_window = Window(allowance.requests_per_minute)
        self._token_window = Window(allowance.tokens_per_minute)
        self._alarm: Handle | None = None
        self._is_awake = False
        """Whether `_give_turns` is about to run."""

    @asynccontextmanager
    async def turn(
        self, line: Line, wanted: Callable[[], bool], claim: Callable[[], bool], tokens: float
    ) -> AsyncGenerator[Turn | None]:
        """Wait in `line` for the turn to send a call of some `tokens`, and hold it in the body.

        `claim` is asked right before. Where it says False, or `wanted` does earlier, the turn is
        None. Raises ProviderError where nothing is sent for now, and waiting is not worth it.
        """
        waiting = _Waiting(wanted, claim, tokens, asyncio.get_running_loop().create_future())
        if not line.calls:
            self._lines.append(line)
        line.calls.append(waiting)
        self._wake()
        try:
            turn = await waiting.turn
        except asyncio.CancelledError:
            self._leave(line, waiting)
            raise
        try:
            yield turn
        finally:
            if turn is not None:
                self._end(turn)

    def heard(self, turn: Turn, headers: Mapping[str, str]) -> None:
        """Take in the headers of a reply, or of an error."""
        if told := read_limit(headers, "requests"):
            self._call_quota.told(told, turn.at, turn.calls_sent)
        if told := read_limit(headers, "tokens"):
            self._token_quota.told(told, turn.at, turn.tokens_sent)

    def answered(self, turn: Turn, tokens: int = 0) -> None:
        """Note that a call was answered, and took `tokens` (0 where that is not known)."""
        if tokens:
            self._token_window.correct(turn.tokens, tokens)
        self._is_known = True
        self.refused(turn)

    def refused(self, turn: Turn) -> None:
        """Note that a call was refused for what it holds: the provider itself is well."""
        self._backoff.answered(turn.era)
        if not self._backoff.given_up:
            self.condition.works(self._doing)

    def failed(self, turn: Turn, error: PassingError | ProviderError) -> None:
        """Note that a call failed. A ProviderError is one that every other call would meet too."""
        now, era = self._clock.now(), self._backoff.era
        self._backoff.failed(turn.era, error, now)
        if self._backoff.given_up:
            self.condition.fails(self._doing, str(error))
        elif self._backoff.era != era:
            _log.info("provider asks for a pause", seconds=round(self._backoff.wait(now), 3))

    def _wake(self) -> None:
        """Have turns given soon, now that there may be more of them than before."""
        if self._lines and not self._is_awake:
            self._is_awake = True
            self._background.soon(self._give_turns)

    def _give_turns(self) -> None:
        """Give a turn, and come back when there may be more.

        Not several at once: neither callers whose answer is at hand nor those whose deadline comes
        must wait behind a hundred calls that are sent.
        """
        self._is_awake = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._clock.now()
        call = self._next()
        if call is None:
            return
        quota = max(self._call_quota.wait(now, 1), self._token_quota.wait(now, call.tokens))
        if refusal := self._refusal(now, quota):
            self._refuse(refusal)
            return
        if self._in_flight >= self._allowance.concurrency or self._backoff.is_full:
            return
        if wait := max(quota, self._wait(now, call.tokens)):
            self._alarm = self._clock.later(wait, self._give_turns)
            return
        self._pop()
        call.turn.set_result(self._begin(now, call.tokens) if call.claim() else None)
        self._wake()

    def _next(self) -> _Waiting | None:
        """Give the call whose turn is next; those that are wanted no more are let go."""
        while self._lines:
            call = self._lines[0].calls[0]
            if call.turn.done():  # cancelled, and not gone yet
                self._pop()
            elif call.wanted():
                return call
            else:
                self._pop()
                call.turn.set_result(None)
        return None

    def _pop(self) -> None:
        """Take the next call out of its line, and let the next line follow."""
        line = self._lines.popleft()
        line.calls.popleft()
        if line.calls:
            self._lines.append(line)

    def _refuse(self, refusal: ProviderError) -> None:
        """Tell all who wait."""
        while call := self._next():
            self._pop()
            call.turn.set_exception(refusal)

    def _refusal(self, now: float, quota: float) -> ProviderError | None:
        """Give what to tell those who wait, where that is not worth it; `quota` is its wait."""
        longest = self._allowance.longest_wait
        if quota > longest:
            what = "says that its limit is used up"
            return PassingError(what, rate_limited=True, who=self._who).refusal(quota)
        return self._backoff.refusal(now, longest)

    def _wait(self, now: float, tokens: float) -> float:
        """Give the seconds until a call of some `tokens` may be sent, as far as we decide it."""
        is_slow = not self._is_known and self._in_flight >= self._allowance.at_first
        return max(
            self._sent_at + _SLOWLY - now if is_slow else 0.0,
            self._backoff.wait(now),
            self._call_window.wait(now, 1),
            self._token_window.wait(now, tokens),
        )

    def _begin(self, now: float, tokens: float) -> Turn:
        self._in_flight += 1
        self._sent_at = now
        self._call_quota.take(now, 1)
        self._token_quota.take(now, tokens)
        self._call_window.take(now, 1)
        return Turn(
            at=now,
            era=self._backoff.sent(),
            tokens=self._token_window.take(now, tokens),
            calls_sent=self._call_quota.sent,
            tokens_sent=self._token_quota.sent,
        )

    def _end(self, turn: Turn) -> None:
        self._in_flight -= 1
        self._backoff.ended(turn.era)
        self._wake()

    def _leave(self, line: Line, waiting: _Waiting) -> None:
        """Take a call out of its line, or give back the turn that it just got."""
        if waiting in line.calls:
            line.calls.remove(waiting)
            if not line.calls:
                self._lines.remove(line)
            self._wake()  # it may have been the one that the others waited behind
        elif not waiting.turn.cancelled() and waiting.turn.exception() is None:
            turn = waiting.turn.result()
            if turn is not None:
                self._end(turn)
