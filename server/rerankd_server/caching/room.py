"""Room to wait in: how many pairs may wait to be sent to one provider.

It is counted here, and not where calls are sent, because here a pair that many ask for is one.
"""

import math
import time
from collections import deque
from collections.abc import Callable

_SHORTEST, _LONGEST = 1.0, 60.0
"""Seconds: bounds of the guess when there will be room."""


class Room:
    """`places` for pairs that wait. `clock` gives seconds from any origin."""

    def __init__(
        self, places: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.places = places
        self.taken = 0
        self._clock = clock
        self._left_at: deque[float] = deque(maxlen=100)

    def take(self, count: int) -> bool:
        """Take places for `count` pairs, or none. An empty room takes whatever comes."""
        if count and self.taken and self.taken + count > self.places:
            return False
        self.taken += count
        return True

    def leave(self) -> None:
        """Give one place back."""
        self.taken -= 1
        self._left_at.append(self._clock())

    def seconds_until(self, count: int) -> float:
        """Guess, from those who left last, the seconds until there is room for `count` pairs."""
        too_many = min(self.taken, self.taken + count - self.places)
        if not self._left_at:
            return _SHORTEST
        seconds_each = (self._clock() - self._left_at[0]) / len(self._left_at)
        return min(max(_SHORTEST, too_many * seconds_each), _LONGEST)
