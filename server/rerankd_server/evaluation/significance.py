"""Whether one model's rankings are better than another's by more than luck."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerankd_server.evaluation.evaluate import Evaluation
from rerankd_server.evaluation.measures import NDCG

_RESAMPLES = 19_999
"""Sign flips that are drawn; up to 14 queries all of them are tried instead."""
_BATCH = 1000
"""Sign flips at once: bounds memory."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The best model against another, by nDCG@10 per query."""

    best: str
    other: str
    difference: float
    """Of the means, 0 or more."""
    p_value: float
    """Two-sided, corrected for the number of pairs of models."""


def compare(evaluations: Sequence[Evaluation]) -> Sequence[Comparison]:
    """Compare the first, which is the best, with each of the others.

    Which is the best the same queries have decided, as if all pairs had been compared: so the
    correction, Holm's, is for all pairs. The test is a paired randomization test, as in Smucker,
    Allan and Carterette, "A comparison of statistical significance tests for information retrieval
    evaluation" (CIKM 2007).
    """
    if len(evaluations) < 2:
        return []
    best, *others = evaluations
    values = best.values(NDCG)
    pairs = len(evaluations) * len(others) // 2
    p_values = holm([randomization_test(values, other.values(NDCG)) for other in others], pairs)
    return [
        Comparison(best.model, other.model, best.mean(NDCG) - other.mean(NDCG), p_value)
        for other, p_value in zip(others, p_values, strict=True)
    ]


def randomization_test(one: Sequence[float], other: Sequence[float]) -> float:
    """Give the two-sided p-value of paired values: how often chance makes as large a difference.

    By chance each pair may as well be the other way round. The same values give the same p-value.
    """
    if len(one) < 2:
        return 1.0  # turned round, the one difference is as large
    from scipy import stats  # noqa: PLC0415  # takes a second to load

    result = stats.permutation_test(
        (one, other),
        _mean_difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        rng=_SEED,
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float], count: int) -> Sequence[float]:
    """Correct p-values, the least of `count`, for that number (Holm 1979); in their order."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (count - place) * p_values[position]))
        corrected[position] = largest
    return corrected


def _mean_difference(one: Any, other: Any, axis: int) -> Any:
    return (one - other).mean(axis=axis)
