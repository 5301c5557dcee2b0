"""A stream of queries as people ask them: a few again and again, most of them seldom."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

_QUERIES = 20_000
_EXPONENT = 1.2


def zipf(chance: Random) -> Iterator[int]:
    """Give queries, by rank: the n-th is asked for n ** -1.2 times as often as the first."""
    weights = list(accumulate(rank**-_EXPONENT for rank in range(1, _QUERIES + 1)))
    while True:
        yield bisect(weights, chance.random() * weights[-1])


def arrivals(chance: Random, rate: float, seconds: float) -> Sequence[float]:
    """Give the times of calls that nobody has agreed upon, `rate` a second."""
    times = accumulate(chance.expovariate(rate) for _ in range(round(rate * seconds)))
    return list(times)
