"""A circuit breaker for a model that answers, and gives no score.

A dozen refusals or failures alike in a row, without a score between them, say that no document is
at fault. (An outage is another matter: calls that fail on their way are the dispatcher's.) The
breaker then lets all that is under way come back, and has a few documents from elsewhere in the
request asked about, and one of another request, for bad ones may stand together. Where these give
no score either it opens: for a while nothing is sent, and then one call at a time tries whether the
model has come to itself.
"""

import asyncio
from dataclasses import dataclass, replace
from enum import Enum, auto

from rerankd_server.clock import Clock
from rerankd_server.condition import Condition
from rerankd_server.scoring.scorer import Reason, Unscored

_PATIENCE = 12
"""Outcomes alike in a row without a score."""
_PROBES = 3
"""Documents that are asked about then, before the breaker opens."""
_MOST_IN_A_ROW = 2 * _PATIENCE
"""Outcomes alike after which it opens, whoever has asked."""
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 600.0
"""Seconds that it stays open: each time twice as long."""


class Go(Enum):
    """Whether a call may be sent."""

    SEND = auto()
    PROBE = auto()
    """One call about one document, to find out."""
    STOP = auto()


@dataclass(slots=True)
class Caller:
    """One request, as the breaker knows it."""

    insists: bool = False
    """Whether it may send a call while the breaker is open, for it wants no stored answer."""
    has_probed: bool = False


class Breaker:
    """Guards the calls of one scorer, whoever asks it.

    `condition` tells that `doing` fails while the breaker is open.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        condition: Condition | None = None,
        doing: str = "scores",
    ) -> None:
        self._clock = clock or Clock()
        self._condition = condition or Condition("provider")
        self._doing = doing
        self._in_a_row = 0
        self._last = Unscored(Reason.REFUSED)
        """The last outcome without a score."""
        self._let_in = 0
        """Those who may send, and have not left."""
        self._probes_left = _PROBES
        self._open_until: float | None = None
        """None where it is closed."""
        self._pause = _FIRST_PAUSE
        self._changed = asyncio.Event()

    @property
    def is_tripped(self) -> bool:
        """Whether nothing is to be sent but probes."""
        return self._in_a_row >= _PATIENCE

    @property
    def outcome(self) -> Unscored:
        """What becomes of documents that the model is not asked about."""
        return replace(self._last, was_asked=False)

    async def enter(self, caller: Caller) -> Go:
        """Return whether a call may be sent, once that is known. Unless it is STOP, `leave` after.

        While the breaker is open, a caller who insists may send one call: a score closes it.
        """
        while self.is_tripped:
            if self._is_closed_to(caller):
                return Go.STOP
            if self._let_in:
                await self._changed.wait()
                continue
            self._let_in += 1
            self._probes_left = max(0, self._probes_left - 1)
            caller.has_probed = True
            caller.insists = False
            return Go.PROBE
        self._let_in += 1
        return Go.SEND

    def _is_closed_to(self, caller: Caller) -> bool:
        """Return whether nothing is sent for `caller`; opens the breaker where that is due."""
        is_exhausted = not (self._let_in or self._probes_left) and caller.has_probed
        if self._open_until is None and is_exhausted:
            self._open()
        if self._open_until is None:
            return False
        return self._clock.now() < self._open_until and not caller.insists

    def leave(self) -> None:
        """Note that a call is over, or is not sent after all."""
        self._let_in -= 1
        is_exhausted = self._in_a_row >= _MOST_IN_A_ROW and not self._probes_left
        is_open = self._open_until is not None
        if self.is_tripped and not self._let_in and (is_open or is_exhausted):
            self._open()
        self._tell()

    def scored(self) -> None:
        """Note that a call gave a score."""
        self._in_a_row, self._probes_left = 0, _PROBES
        if self._open_until is not None:
            self._open_until, self._pause = None, _FIRST_PAUSE
            self._condition.works(self._doing)
        self._tell()

    def failed(self, outcome: Unscored) -> None:
        """Note that a call gave none."""
        is_alike = self._in_a_row > 0 and outcome.reason is self._last.reason
        self._in_a_row = self._in_a_row + 1 if is_alike or self.is_tripped else 1
        self._last = outcome

    def _open(self) -> None:
        """Send nothing for a while, for longer each time."""
        self._open_until = self._clock.now() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        last = self._last
        why = str(last.error) if last.error else last.detail.value if last.detail else "no score"
        self._condition.fails(self._doing, f"{self._in_a_row} calls in a row gave no score: {why}")

    def _tell(self) -> None:
        """Wake those who wait."""
        self._changed.set()
        self._changed = asyncio.Event()
