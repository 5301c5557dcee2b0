"""What rankings cost: what was spent now, and what they are worth without the cache."""

import math
from dataclasses import dataclass
from typing import Self

from rerankd import Usage


@dataclass(frozen=True, slots=True)
class Costs:
    """What one query, or many, took. Dollars are None where a price is not known."""

    pairs: int = 0
    cached_pairs: int = 0
    """Pairs whose score was there already, or was being bought by somebody else."""
    unscored_pairs: int = 0
    model_calls: int = 0
    tokens: int = 0
    """Spent now, prompt and completion."""
    full_tokens: int = 0
    """Spent now, and earlier for the pairs that were cached: what a first run takes."""
    spent_usd: float | None = 0.0
    full_usd: float | None = 0.0
    """As `full_tokens`, in US dollars."""
    full_prompt_tokens: int = 0
    """Those of `full_tokens` that are in prompts."""

    def __add__(self, other: Self) -> "Costs":
        """Add up; what is unknown once is unknown."""
        return Costs(
            self.pairs + other.pairs,
            self.cached_pairs + other.cached_pairs,
            self.unscored_pairs + other.unscored_pairs,
            self.model_calls + other.model_calls,
            self.tokens + other.tokens,
            self.full_tokens + other.full_tokens,
            _plus(self.spent_usd, other.spent_usd),
            _plus(self.full_usd, other.full_usd),
            self.full_prompt_tokens + other.full_prompt_tokens,
        )

    @property
    def saved_usd(self) -> float | None:
        """US dollars that the cache saved."""
        if self.full_usd is None or self.spent_usd is None:
            return None
        return max(0.0, self.full_usd - self.spent_usd)


def costs_of(replies: list[Usage]) -> Costs:
    """Read the costs of one query from its replies, one for each time it was asked.

    All but the last were cut short, and each found cached what those before it had bought: so the
    first alone tells what was cached, and the last alone what everything is worth.
    """
    first, last = replies[0], replies[-1]
    spent: float | None = 0.0
    for usage in replies:
        spent = _plus(spent, usage.cost_usd)
    return Costs(
        pairs=last.cached_pairs + last.scored_pairs + last.shared_pairs + last.unscored_pairs,
        cached_pairs=first.cached_pairs + first.shared_pairs,
        unscored_pairs=last.unscored_pairs,
        model_calls=sum(usage.model_calls for usage in replies),
        tokens=sum(usage.prompt_tokens + usage.completion_tokens for usage in replies),
        full_tokens=last.prompt_tokens
        + last.completion_tokens
        + last.saved_prompt_tokens
        + last.saved_completion_tokens,
        full_prompt_tokens=last.prompt_tokens + last.saved_prompt_tokens,
        spent_usd=spent,
        full_usd=_plus(last.cost_usd, last.saved_usd),
    )


def money(amount: float | None) -> str:
    """Write US dollars: cents, and below 10 cents two digits that count. Unknown is not 0."""
    if amount is None:
        return "unknown"
    if amount == 0 or amount >= 100:
        return f"${amount:,.0f}"
    return f"${amount:.{max(2, 1 - math.floor(math.log10(amount)))}f}"


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
