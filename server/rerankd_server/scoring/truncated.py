"""A scorer around a scorer: cuts long documents before anyone looks at them.

The cache stands inside, so its key is of the text exactly as the model gets it.
"""

from collections.abc import AsyncGenerator, Sequence

from rerankd_server.scoring.scorer import Ask, Candidate, Progress, Scorer


class Truncated:
    """Passes on at most the first `limit` characters (code points) of every document."""

    def __init__(self, scorer: Scorer, limit: int) -> None:
        self._scorer = scorer
        self._limit = limit

    def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score the cut candidates; see `Scorer.score`."""
        limit = self._limit
        return self._scorer.score(
            ask,
            [
                candidate
                if len(candidate.text) <= limit
                else candidate._replace(text=candidate.text[:limit])
                for candidate in candidates
            ],
        )
