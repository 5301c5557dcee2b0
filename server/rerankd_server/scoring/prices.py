"""What tokens cost: the settings' prices, or else those that genai-prices knows.

A price is found only for a provider that the list knows by its address, never guessed from a
model's name: the same model may run on your own machine.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Finding,
    Progress,
    Recalled,
    Scorer,
    T,
    Usage,
)

_SAMPLE = 1000
"""Tokens to ask the price of: few enough for the lowest tier, which is that of short prompts."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for one token."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Give the price of so many tokens."""
        return self.prompt * prompt_tokens + self.completion * completion_tokens


def listed_price(base_url: str, model: str) -> Price | None:
    """Give what the price list says of `model` at the provider behind `base_url`, if anything."""
    from genai_prices import Usage as Tokens  # noqa: PLC0415  # slow, and not every server asks
    from genai_prices import calc_price  # noqa: PLC0415

    try:
        found = calc_price(
            Tokens(input_tokens=_SAMPLE, output_tokens=_SAMPLE), model, provider_api_url=base_url
        )
    except (LookupError, ValueError):
        return None
    return Price(float(found.input_price) / _SAMPLE, float(found.output_price) / _SAMPLE)


class Priced(Scorer[T]):
    """Says what `scorer` spends and saves, at `price`; None where that is not known."""

    def __init__(self, scorer: Scorer[T], price: Price | None) -> None:
        self._scorer = scorer
        self._price = price

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress[T]]:
        """Score as the inner scorer does; see `Scorer.score`."""
        async with aclosing(self._scorer.score(ask, candidates)) as steps:
            async for step in steps:
                yield replace(step, usage=self._priced(step.usage))

    def recall(self, ask: Ask, candidates: Sequence[Candidate]) -> Recalled[T] | None:
        """Recall what the inner scorer does; see `Scorer.recall`."""
        return self._scorer.recall(ask, candidates)

    def had(self, found: Collection[Finding]) -> Usage:
        """Price what the inner scorer had; see `Scorer.had`."""
        return self._priced(self._scorer.had(found))

    def _priced(self, usage: Usage) -> Usage:
        if self._price is None:
            is_any = usage.model_calls or usage.cached_pairs or usage.shared_pairs
            return usage.priced(None, None) if is_any else usage
        return usage.priced(
            self._price.of(usage.prompt_tokens, usage.completion_tokens),
            self._price.of(usage.saved_prompt_tokens, usage.saved_completion_tokens),
        )
