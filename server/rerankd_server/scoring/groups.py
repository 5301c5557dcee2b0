"""Candidates that one call is about, and what the reply says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from rerankd_server.scoring.scorer import T_co, Unscored


@dataclass(slots=True)
class Halved:
    """A group that was refused whole; where both halves are taken, it was too large."""

    answered: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that one call is about."""

    positions: Sequence[int]
    tries: int = 0
    """How often they were asked about before."""
    halved: Halved | None = None
    """What it is a half of."""

    def again(self) -> "Group":
        """Return the same candidates, asked about once more."""
        return Group(self.positions, self.tries + 1)

    def halves(self) -> Sequence["Group"]:
        """Return the same candidates as two groups, or as one where there is only one candidate."""
        middle = (len(self.positions) + 1) // 2
        parts, halved = (self.positions[:middle], self.positions[middle:]), Halved()
        return [Group(part, self.tries, halved) for part in parts if part]

    def split(self, size: int) -> Sequence["Group"]:
        """Return the same candidates as groups of at most `size`."""
        starts = range(0, len(self.positions), size)
        return [Group(self.positions[start : start + size], self.tries) for start in starts]


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T_co]):
    """What a reply says of the group that it answers; what it says nothing of is asked again."""

    found: Mapping[int, T_co]
    unscored: Mapping[int, Unscored] = field(default_factory=dict)
    again: Sequence[Group] = ()
    wrong: Unscored | None = None
    """What is wrong with the reply, where nothing is found and all is asked again."""
