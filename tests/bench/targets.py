"""What ways of scoring have to reach on real queries."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measured import COMBINATIONS, GATES, Measured

MOST_CALLS, LEAST_QUALITY = 0.45, 0.99
"""Of the calls and the nDCG@10 of the model on everything."""
_MOST_TOKENS = 0.45


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached, and what is, on each set."""

    what: str
    measured: Sequence[str]
    reached: bool


def targets_of(sets: Sequence[Measured]) -> Sequence[Target]:
    tokens = [_tokens(each) for each in sets]
    orders = [
        [answer.order for answer in each.evaluations[recipe].answers]
        for each in sets
        for recipe in ("pointwise", "batched", "integers", "batched integers")
    ]
    calls = [_calls_of_combinations(each) for each in sets]
    return [
        Target(
            "expected values with ties as in the first stage: at least integers with random ties",
            [f"{each.quality('pointwise'):.4f} to {each.random_ties:.4f}" for each in sets],
            all(each.quality("pointwise") >= each.random_ties for each in sets),
        ),
        Target(
            f"a cascade: at most {MOST_CALLS:.0%} of the model's calls, and no less than "
            f"{LEAST_QUALITY} of the nDCG@10 of scoring everything (the 20 nearest)",
            [
                f"{each.calls('embeddings 20'):.0%} for {each.share('embeddings 20'):.3f}"
                for each in sets
            ],
            all(
                each.calls("embeddings 20") <= MOST_CALLS
                and each.share("embeddings 20") >= LEAST_QUALITY
                for each in sets
            ),
        ),
        Target(
            f"batched, ten a prompt: at most {_MOST_TOKENS:.0%} of pointwise's prompt tokens",
            [f"{share:.1%}" for share in tokens],
            max(tokens) <= _MOST_TOKENS,
        ),
        Target(
            "batched: the ranking that pointwise gives, from a judge who judges equally",
            ["the same" if orders[4 * i] == orders[4 * i + 1] else "another" for i in (0, 1)],
            all(one == other for one, other in zip(orders[::2], orders[1::2], strict=True)),
        ),
        Target(
            "combinations of cached leaves: no call",
            [f"{count:,}" for count in calls],
            not any(calls),
        ),
    ]


def _tokens(each: Measured) -> float:
    """Give the batched recipe's prompt tokens as a share of the pointwise one's."""
    batched, pointwise = (each.evaluations[name] for name in ("batched", "pointwise"))
    return batched.costs.full_prompt_tokens / pointwise.costs.full_prompt_tokens


def _calls_of_combinations(each: Measured) -> int:
    return sum(each.evaluations[name].costs.model_calls for name in (*COMBINATIONS, *GATES))
