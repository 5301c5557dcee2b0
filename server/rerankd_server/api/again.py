"""Whether something came before: most requests never come again, and need not be remembered."""

from collections.abc import Hashable

from rerankd_server.caching.generations import Generations

_ENTRY = 120
"""Bytes that one takes, as measured."""


class Again:
    """Notes what came lately, in at most about `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._seen: Generations[int, bool] = Generations(limit, lambda _: _ENTRY)

    def note(self, what: Hashable) -> bool:
        """Give whether `what` came before, as far as its hash tells; it has come now."""
        mark = hash(what)
        came = self._seen.get(mark) is not None
        if not came:
            self._seen.put(mark, True)
        return came
