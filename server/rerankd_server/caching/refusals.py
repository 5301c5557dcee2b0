"""Refusals in memory: pairs for which a model's reply held no score, and why.

They are no scores, so they are never stored; but to ask again at once would be to pay again in
vain. They are forgotten after a while, and by whoever asks for a fresh score.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from rerankd_server.caching.generations import Generations
from rerankd_server.caching.key import HALF
from rerankd_server.scoring.scorer import Reason, Unscored

_MOST_BYTES = 8 << 20
_ENTRY = 200
"""Bytes that one refusal takes."""


class _Refusal(NamedTuple):
    unscored: Unscored
    until: float


class Refusals:
    """Remembers refusals for `ttl` seconds, 0 for not at all; `clock` gives seconds."""

    def __init__(self, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._clock = clock
        self._kept: Generations[bytes, _Refusal] = Generations(_MOST_BYTES, lambda _: _ENTRY)

    def find(self, keys: Iterable[bytes]) -> Mapping[bytes, Unscored]:
        """Return why those of `keys` were refused that were, not long ago."""
        now, get = self._clock(), self._kept.get
        found = ((key, get(key[HALF:])) for key in keys)
        return {key: each.unscored for key, each in found if each and now < each.until}

    def note(self, unscored: Mapping[bytes, Unscored]) -> None:
        """Remember what of `unscored` a model's own reply was the reason for."""
        until = self._clock() + self._ttl
        for key, each in unscored.items():
            if each.reason is Reason.REFUSED and each.was_asked:
                self._kept.put(key[HALF:], _Refusal(replace(each, was_asked=False), until))

    def forget(self, keys: Iterable[bytes]) -> None:
        """Forget refusals of pairs that have a score now."""
        for key in keys:
            self._kept.drop(key[HALF:])
