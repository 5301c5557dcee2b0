"""How old a score may be: `ttl` seconds, by whole seconds, as scores keep no more of their time."""

import math
import time
from collections.abc import Callable, Iterable, Mapping

from rerankd_server.scoring.scorer import Finding

_ALWAYS = -(1 << 62), 1 << 62
_AHEAD = 60
"""Seconds: a score from further in the future was bought while the clock was wrong."""


class Freshness:
    """Tells scores that may be used from those that may not. `clock` gives Unix time in seconds.

    Without a `ttl` all may be. A score lives through the whole second in which it ends; one from
    the future has no age that is known, so it may not be used.
    """

    def __init__(self, ttl: float | None, clock: Callable[[], float] = time.time) -> None:
        self._ttl = ttl
        self._clock = clock

    def is_fresh(self, scored_at: int) -> bool:
        """Whether a score of that Unix second may be used."""
        first, last = self._bounds()
        return first <= scored_at <= last

    def are_fresh(self, findings: Iterable[Finding]) -> bool:
        """Whether all of `findings` may be used."""
        if self._ttl is None:  # hundreds are looked at in a call
            return True
        first, last = self._bounds()
        return all(first <= finding.scored_at <= last for finding in findings)

    def among(self, found: Mapping[bytes, Finding]) -> Mapping[bytes, Finding]:
        """Return those of `found` that may be used."""
        if self.are_fresh(found.values()):
            return found
        first, last = self._bounds()
        return {key: each for key, each in found.items() if first <= each.scored_at <= last}

    def _bounds(self) -> tuple[int, int]:
        """Return the first and the last Unix second in which a fresh score can be bought."""
        if self._ttl is None:
            return _ALWAYS
        now = self._clock()
        return math.floor(now - self._ttl), math.floor(now + min(self._ttl, _AHEAD))
