"""A provider's embeddings: what is whole is read, and nothing else is."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.embedding import to_embeddings
from rerankd_server.scoring.provider import _UNREADABLE

numbers = st.floats(-1e6, 1e6).filter(lambda number: abs(number) > 1e-3)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), numbers
)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=9,
)
rows = st.lists(
    st.fixed_dictionaries(
        {"index": st.one_of(st.integers(0, 3), scalars), "embedding": st.lists(scalars)}
    )
)


def reply(*vectors: Any) -> dict[str, Any]:
    return {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n))))
def test_vectors_come_out_with_length_1_in_the_texts_order(vectors: list[list[float]]) -> None:
    read = to_embeddings(reply(*vectors))
    assert len(read.vectors) == len(vectors)
    for data, vector in zip(read.vectors, vectors, strict=True):
        found = struct.unpack(f"<{len(vector)}f", data)
        length = math.sqrt(sum(number * number for number in vector))
        assert found == pytest.approx([number / length for number in vector], abs=1e-6)


def test_the_index_counts_and_not_the_place() -> None:
    mixed = {"data": reply([1.0, 0.0], [0.0, 1.0])["data"][::-1], "model": "m"}
    mixed["usage"] = {"prompt_tokens": 7}
    read = to_embeddings(mixed)
    assert read.vectors == to_embeddings(reply([1.0, 0.0], [0.0, 1.0])).vectors
    assert (read.model, read.prompt_tokens, read.completion_tokens) == ("m", 7, 0)


@given(st.one_of(json_values, st.fixed_dictionaries({"data": st.one_of(json_values, rows)})))
def test_whatever_comes_is_whole_vectors_or_an_error_that_is_expected(value: Any) -> None:
    try:
        read = to_embeddings(value)
    except _UNREADABLE:
        return
    for data in read.vectors:
        vector = struct.unpack(f"<{len(data) // 4}f", data)
        assert math.sqrt(sum(number * number for number in vector)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"data": None},
        {"data": [{"embedding": [1.0]}]},
        {"data": [{"index": 0}]},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0.5, "embedding": [1.0]}]},
        {"data": [{"index": "0", "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        reply([1.0], [1.0, 2.0]),
        reply([]),
        reply([0.0, 0.0]),
        reply([math.nan, 1.0]),
        reply([math.inf, 1.0]),
        reply([1e200, 1e200]),
        reply([10**400]),
        reply(["1"]),
        reply([None]),
        reply("AACAPw=="),
    ],
)
def test_what_is_not_whole_is_an_error(value: Any) -> None:
    with pytest.raises(_UNREADABLE):
        to_embeddings(value)
