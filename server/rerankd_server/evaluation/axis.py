"""The cost axis of a plot: one unit for all models, on a scale that holds both nothing and much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rerankd_server.evaluation.costs import money
from rerankd_server.evaluation.evaluate import Evaluation

_PER = 1000
_MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class CostAxis:
    """What each model's rankings cost per 1,000 queries, whether or not the cache paid for them."""

    unit: str
    costs: Sequence[float]
    """By model."""
    is_money: bool

    @property
    def label(self) -> str:
        """What stands along the axis."""
        return f"{self.unit}, nothing cached"

    @property
    def width(self) -> float:
        """The least cost that is not 0: up to there the scale is linear, then logarithmic."""
        return min((cost for cost in self.costs if cost > 0), default=1.0)

    def place(self, cost: float) -> float:
        """Give where a cost is on the scale, 0 at 0."""
        return math.asinh(cost / self.width)

    @property
    def ticks(self) -> Sequence[float]:
        """Round costs from 0 on, so that no two are near each other on the scale."""
        highest = max(self.costs)
        found = [0.0]
        exponent = math.floor(math.log10(self.width))
        while (decade := 10.0**exponent) <= highest:
            for cost in (decade, 2 * decade, 5 * decade):
                apart = self.place(cost) - self.place(found[-1])
                if cost <= highest and apart > self.place(highest) / _MOST_TICKS:
                    found.append(cost)
            exponent += 1
        return found

    def text(self, cost: float) -> str:
        """Write a cost."""
        return money(cost) if self.is_money else f"{cost:,.0f}"


def cost_axis(evaluations: Sequence[Evaluation]) -> CostAxis:
    """Give the axis: US dollars where every model's are known, else tokens."""
    dollars = [
        _PER * each.costs.full_usd / len(each.answers)
        for each in evaluations
        if each.costs.full_usd is not None
    ]
    if len(dollars) == len(evaluations):
        return CostAxis(f"dollars per {_PER:,} queries", dollars, is_money=True)
    tokens = [_PER * each.costs.full_tokens / len(each.answers) for each in evaluations]
    return CostAxis(f"tokens per {_PER:,} queries", tokens, is_money=False)
