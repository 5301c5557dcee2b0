"""Reads a provider's embeddings: plain JSON.

A reply counts only where it is whole: one vector for each text, all of one length, every number
finite. Vectors are made of length 1, so that the cosine of two is their dot product.
"""

import math
import operator
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerankd_server.scoring.completion import count, text


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a provider answered to some texts."""

    vectors: Sequence[bytes]
    """In the texts' order, each float32, little-endian, of length 1; all of one size."""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def to_embeddings(reply: Any) -> Embeddings:
    """Read `reply`, a decoded JSON object.

    Raises ValueError, TypeError, AttributeError or LookupError where that is not what it is.
    """
    rows = reply["data"]
    by_index = {operator.index(row["index"]): row["embedding"] for row in rows}
    if sorted(by_index) != list(range(len(rows))):
        raise ValueError("the vectors are not numbered from 0, each once")
    vectors = [_unit(by_index[index]) for index in range(len(rows))]
    if len({len(vector) for vector in vectors}) > 1:
        raise ValueError("the vectors have different dimensions")
    return Embeddings(
        vectors=vectors,
        model=text(reply.get("model")),
        prompt_tokens=count((reply.get("usage") or {}).get("prompt_tokens")),
    )


def _unit(numbers: Sequence[float]) -> bytes:
    """Give `numbers` divided by their length. Raises ValueError where they point nowhere."""
    length = math.sqrt(math.fsum(number * number for number in numbers))
    if not 0 < length < math.inf:  # also where it is not a number
        raise ValueError("a vector has no direction")
    return struct.pack(f"<{len(numbers)}f", *(number / length for number in numbers))
