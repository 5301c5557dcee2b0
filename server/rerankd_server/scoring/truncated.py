"""A scorer around a scorer: cuts long documents before anyone looks at them.

The cache stands inside, so its key is of the text exactly as the model gets it.
"""

from collections.abc import AsyncGenerator, Collection, Sequence

from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Documents,
    Finding,
    Progress,
    Recalled,
    Scorer,
    Usage,
)


class Truncated(Scorer):
    """Passes on at most the first `limit` characters (code points) of every document."""

    def __init__(self, scorer: Scorer, limit: int) -> None:
        self._scorer = scorer
        self._limit = limit

    def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score the cut candidates; see `Scorer.score`."""
        return self._scorer.score(ask, Documents.of(candidates).cut(self._limit))

    def recall(self, ask: Ask, candidates: Sequence[Candidate]) -> Recalled | None:
        """Recall the cut candidates' scores; see `Scorer.recall`."""
        return self._scorer.recall(ask, Documents.of(candidates).cut(self._limit))

    def had(self, found: Collection[Finding]) -> Usage:
        """Give what the inner scorer had; see `Scorer.had`."""
        return self._scorer.had(found)
