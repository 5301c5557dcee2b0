"""What was asked lately, by the very texts: such a document is found without hashing it.

To find a text takes a third of the time that it takes to hash it, which is most of what a ranking
from memory costs; but it takes the text's own room, so this holds far fewer pairs than `Memory`.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from rerankd_server.caching.generations import Generations
from rerankd_server.caching.store import Store
from rerankd_server.scoring.scorer import Finding

_ENTRY = 150
"""Bytes that a finding takes beside its document's text, where memory has forgotten it."""


class _Findings(NamedTuple):
    """Findings about one query's documents, of one epoch, and the bytes that they take."""

    by_text: dict[str, Finding]
    size: int
    epoch: int


class Recent:
    """Keeps findings that are in `store`, in at most about `limit` bytes; 0 for none at all."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._kept: Generations[bytes, _Findings] = Generations(limit, lambda each: each.size)

    def recall(self, of_query: bytes, texts: Sequence[str]) -> Sequence[Finding] | None:
        """Give the finding about each of `texts`, or None where one is not kept."""
        kept = self._kept.get(of_query)
        if kept is None or kept.epoch != self._store.epoch.now:
            return None
        try:
            found = [*map(kept.by_text.__getitem__, texts)]
        except KeyError:
            return None
        return found if self._store.are_fresh(found) else None

    def keep(
        self, of_query: bytes, texts: Sequence[str], findings: Sequence[Finding], epoch: int
    ) -> None:
        """Keep what was found in `epoch` about `texts`."""
        if not self._limit:
            return
        kept = self._kept.get(of_query)
        if kept is None or kept.epoch != epoch:
            kept = _Findings({}, 0, epoch)
        size = kept.size
        for text, finding in zip(texts, findings, strict=True):
            if text not in kept.by_text:
                size += _ENTRY + sys.getsizeof(text)
            kept.by_text[text] = finding
        self._kept.put(of_query, _Findings(kept.by_text, size, epoch))
