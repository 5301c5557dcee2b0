"""Room to wait in: how many pairs may wait to be sent to one provider.

It is counted here, and not where calls are sent, because here a pair that many ask for is one.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable

_SHORTEST, _LONGEST = 1.0, 60.0
"""Seconds: bounds of the guess when there will be room."""


class Room:
    """`places` for pairs that wait. `clock` gives seconds from any origin."""

    def __init__(
        self, places: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.places = places
        self._by_caller: Counter[object] = Counter()
        self._clock = clock
        self._left_at: deque[float] = deque(maxlen=100)

    @property
    def taken(self) -> int:
        """How many pairs wait."""
        return self._by_caller.total()

    def take(self, count: int, caller: object) -> bool:
        """Take places for `count` pairs of `caller`, or none. Who is alone gets what it asks for.

        Else a request could be refused for what it waits for itself, and never be answered.
        """
        is_alone = self._by_caller.keys() <= {caller}
        if count and not is_alone and self.taken + count > self.places:
            return False
        if count:
            self._by_caller[caller] += count
        return True

    def leave(self, caller: object) -> None:
        """Give back one of the places of `caller`."""
        self._by_caller[caller] -= 1
        if not self._by_caller[caller]:
            del self._by_caller[caller]
        self._left_at.append(self._clock())

    def seconds_until(self, count: int) -> float:
        """Guess, from those who left last, the seconds until there is room for `count` pairs."""
        too_many = min(self.taken, self.taken + count - self.places)
        if not self._left_at:
            return _SHORTEST
        seconds_each = (self._clock() - self._left_at[0]) / len(self._left_at)
        return min(max(_SHORTEST, too_many * seconds_each), _LONGEST)
