"""Reads a provider's embeddings: plain JSON.

A vector counts only where every number is finite and some are not 0. Vectors are made of length 1,
so that the cosine of two is their dot product. What is wrong with one text's vector costs that text
alone.
"""

import math
import operator
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankd_server.scoring.completion import count, text
from rerankd_server.scoring.scorer import Detail

_SHORTEST = 1e-100
"""The least length of a vector: the squares of smaller numbers cannot be told from 0."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a provider answered to some texts."""

    vectors: Mapping[int, bytes]
    """By the texts' places, each float32, little-endian, of length 1; all of one size."""
    missing: Mapping[int, Detail] = field(default_factory=dict)
    """What is wrong with the vectors of the other texts that the reply is about."""
    is_numbered: bool = False
    """Whether the reply says which text each vector is of, so that some may be left out."""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def to_embeddings(reply: Any) -> Embeddings:
    """Read `reply`, a decoded JSON object.

    Raises ValueError, TypeError, AttributeError or LookupError where that is not what it is.
    """
    data = reply["data"]
    if not isinstance(data, list):
        raise TypeError("the vectors are no list")
    rows = [row if isinstance(row, dict) else {} for row in data]
    is_numbered = any(row.get("index") is not None for row in rows)
    if is_numbered:  # what has neither a number nor a vector is left out
        rows = [row for row in rows if row.get("index") is not None or row.get("embedding")]
    places = _places([row.get("index") for row in rows])
    read = {p: _unit(row.get("embedding")) for p, row in zip(places, rows, strict=True)}
    sizes = Counter(len(vector) for vector in read.values() if isinstance(vector, bytes))
    size = sizes.most_common(1)[0][0] if sizes else 0
    if sizes and 2 * sizes[size] <= sizes.total():
        raise ValueError("the vectors have different dimensions")
    usage = reply.get("usage")
    return Embeddings(
        vectors={p: v for p, v in read.items() if isinstance(v, bytes) and len(v) == size},
        missing={
            p: v if isinstance(v, Detail) else Detail.UNREADABLE
            for p, v in read.items()
            if not isinstance(v, bytes) or len(v) != size
        },
        is_numbered=is_numbered,
        model=text(reply.get("model")),
        prompt_tokens=count(usage.get("prompt_tokens")) if isinstance(usage, dict) else 0,
    )


def _places(numbers: Sequence[Any]) -> Sequence[int]:
    """Return the place of each row's text; `numbers` are those that the rows bear.

    Some servers number no row, and some leave out the number 0. Where another one is left out, the
    others tell it as long as no text is missing. Raises TypeError or ValueError where they do not.
    """
    if any(isinstance(number, bool) for number in numbers):
        raise TypeError("a number is true or false")
    told = [operator.index(number) for number in numbers if number is not None]
    if not told:
        return range(len(numbers))
    free = sorted({*range(len(numbers))} - {*told})
    if len(told) < len(numbers):
        is_certain = len(told) + 1 == len(numbers) and (free[0] == 0 or len(free) == 1)
        if not is_certain:
            raise ValueError("several vectors are not numbered")
    places = [free[0] if number is None else operator.index(number) for number in numbers]
    if len({*places}) < len(places) or min(places) < 0:
        raise ValueError("the vectors are not numbered from 0, each at most once")
    return places


def _unit(numbers: object) -> bytes | Detail:
    """Return `numbers` divided by their length, or why that cannot be."""
    if not numbers:
        return Detail.EMPTY_REPLY
    if not isinstance(numbers, list) or not {*map(type, numbers)} <= {int, float}:
        return Detail.UNREADABLE
    try:
        length = math.sqrt(math.fsum(number * number for number in numbers))
        if length < _SHORTEST:
            return Detail.EMPTY_REPLY
        if not length < math.inf:  # also where it is not a number
            return Detail.UNREADABLE
        return struct.pack(f"<{len(numbers)}f", *(number / length for number in numbers))
    except (ValueError, OverflowError):
        return Detail.UNREADABLE
