"""What one model has taught us: what it takes, and what its calls have cost.

A refusal is believed only once the model has answered without what it refused: an error that merely
quotes a document must not change how other documents are scored. Where a model refuses a call and
names no reason, or was cut off while it thought, one call tries whether it takes another form, and
all that wait for the same learn from it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rerankd_server.clock import Clock
from rerankd_server.scoring.parameters import Takes

_TRIALS = 2
"""Trials in vain after which another waits: the first ones may have struck bad documents."""
_PAUSE = 60.0
"""Seconds until the next trial then."""
_PATIENCE = 3
"""Refusals in a row of a form that the model has taken before, until another form is tried."""


@dataclass(slots=True)
class Spent:
    """What was spent on one model since the start, whoever waited for it."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(slots=True)
class SizeLimit:
    """Most texts that a model takes in a call, as far as it was learnt."""

    most: int = 1 << 30

    def learn(self, size: int) -> None:
        """Note that calls about `size` texts are taken, and larger ones are not."""
        self.most = min(self.most, max(1, size))


class Trials:
    """One call at a time tries another form; after some in vain, none does for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._in_vain = 0
        self._last = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[bool]:
        """Wait until no other trial is under way; gives whether one may be made now."""
        async with self._lock:
            yield self._in_vain < _TRIALS or self._clock.now() - self._last >= _PAUSE

    def ended(self, *, in_vain: bool) -> None:
        """Note how a trial ended."""
        self._in_vain = self._in_vain + 1 if in_vain else 0
        self._last = self._clock.now()


@dataclass(slots=True)
class Learnt:
    """What is known of one model."""

    clock: Clock
    takes: Takes = field(default_factory=Takes)
    spent: Spent = field(default_factory=Spent)
    texts: SizeLimit = field(default_factory=SizeLimit)
    """Most texts that it embeds in a call."""
    finish: str = ""
    """The finish reason of its last reply, as the provider wrote it."""
    said: set[str] = field(default_factory=set)
    """What the log has said of it, and says once."""
    refused_in_a_row: int = 0
    """Calls that were refused without a reason, since one was answered."""
    is_proved: bool = False
    """Whether it has answered a call of the form that it is thought to take."""
    form: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the call that finds out what the model takes."""
    bare: Trials = field(init=False)
    """Trials of the least that can be sent."""
    room: Trials = field(init=False)
    """Trials of a limit that leaves room to think."""

    def __post_init__(self) -> None:
        self.bare = Trials(self.clock)
        self.room = Trials(self.clock)

    def answered(self, takes: Takes) -> bool:
        """Note that the model answered a call of this form. True where that gives something up."""
        before = self.takes
        self.takes = before.both(takes)
        self.refused_in_a_row = 0
        self.is_proved = True
        return self.takes != before

    @property
    def form_may_be_wrong(self) -> bool:
        """Whether refusals without a reason may be due to the form, and not to one document."""
        return not self.is_proved or self.refused_in_a_row >= _PATIENCE

    def first_time(self, what: str) -> bool:
        """Return whether `what` was not said yet; it counts as said from now on."""
        is_new = what not in self.said
        self.said.add(what)
        return is_new
