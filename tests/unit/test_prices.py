"""What scores cost and save: known prices are told, unknown ones are absent and never 0."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from rerankd_server.scoring.http_client import OPENAI
from rerankd_server.scoring.prices import Price, Priced, listed_price
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Identity,
    Progress,
    Score,
    Scorer,
    Source,
    Usage,
)


class Spending(Scorer):
    """Yields what it is told to, once."""

    identity: Identity = {"kind": "spending"}  # noqa: RUF012

    def __init__(self, usage: Usage) -> None:
        self.usage = usage

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        yield Progress({0: Score(0.5)}, source=Source.SHARED, usage=self.usage)


async def priced(usage: Usage, price: Price | None) -> Progress:
    [step] = [s async for s in Priced(Spending(usage), price).score(Ask("q"), [Candidate("a")])]
    return step


USAGE = Usage(
    cached_pairs=3,
    scored_pairs=1,
    prompt_tokens=1000,
    completion_tokens=10,
    saved_prompt_tokens=3000,
    saved_completion_tokens=30,
)


async def test_tokens_are_worth_their_price() -> None:
    step = await priced(USAGE, Price(prompt=0.15e-6, completion=0.6e-6))
    assert step.usage.cost_usd == pytest.approx(0.000156)
    assert step.usage.saved_usd == pytest.approx(0.000468)
    assert (step.found, step.source) == ({0: Score(0.5)}, Source.SHARED)
    assert step.usage.prompt_tokens == 1000


async def test_an_unknown_price_is_absent_and_makes_every_sum_so() -> None:
    step = await priced(USAGE, None)
    assert (step.usage.cost_usd, step.usage.saved_usd) == (None, None)
    known = (await priced(USAGE, Price(1, 1))).usage
    for total in (known + step.usage, step.usage + known):
        assert (total.cost_usd, total.saved_usd) == (None, None)
        assert total.prompt_tokens == 2000


async def test_what_costs_nothing_costs_0() -> None:
    step = await priced(USAGE, Price(0, 0))
    assert (step.usage.cost_usd, step.usage.saved_usd) == (0, 0)


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (OPENAI, "gpt-4o-mini"),
        (OPENAI, "gpt-4o-mini-2024-07-18"),
        ("https://api.anthropic.com/v1", "claude-haiku-4-5"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-flash"),
    ],
)
def test_the_list_knows_the_large_providers(base_url: str, model: str) -> None:
    price = listed_price(base_url, model)
    assert price is not None
    assert 0 < price.prompt < price.completion < 1e-3


def test_an_embeddings_model_has_a_price_for_prompts_alone() -> None:
    price = listed_price(OPENAI, "text-embedding-3-small")
    assert price is not None
    assert price.prompt > price.completion == 0


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (OPENAI, "no-such-model"),
        (OPENAI, "ft:gpt-4o-mini:us"),
        ("http://127.0.0.1:11434/v1", "gpt-4o-mini"),
        ("https://proxy.example/v1", "gpt-4o-mini"),
        ("not an address", "gpt-4o-mini"),
    ],
)
def test_a_price_is_never_guessed(base_url: str, model: str) -> None:
    assert listed_price(base_url, model) is None
