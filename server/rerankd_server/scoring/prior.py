"""The prior: what the request says of its documents, scaled to 0 to 1 within the request."""

import math
from collections.abc import AsyncGenerator, Mapping, Sequence

from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Reason,
    Score,
    Scorer,
    Source,
    Unscored,
    rounded,
)

_NO_PRIOR = Unscored(Reason.REFUSED)


class PriorScorer(Scorer):
    """Scores by `prior_score`: the request's least is 0, its greatest 1.

    A score depends on the other candidates. One without a prior has no score, which is not a 0; nor
    has any where all priors are equal, for then they say nothing.
    """

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Scale the priors; see `Scorer.score`."""
        scaled = scaled_to_one(
            {p: c.prior for p, c in enumerate(candidates) if c.prior is not None}
        )
        yield Progress(
            found={position: Score(rounded(value)) for position, value in scaled.items()},
            unscored={p: _NO_PRIOR for p in range(len(candidates)) if p not in scaled},
            source=Source.CACHE,
        )


def scaled_to_one(values: Mapping[int, float]) -> Mapping[int, float]:
    """Scale `values` so that the least becomes 0 and the greatest 1; none where all are equal."""
    if not values:
        return {}
    low, high = min(values.values()), max(values.values())
    if low == high:
        return {}
    share = (
        0.5 if math.isinf(high - low) else 1.0
    )  # the numbers are finite, but their width may not
    width = high * share - low * share
    return {key: min(1.0, (value * share - low * share) / width) for key, value in values.items()}
