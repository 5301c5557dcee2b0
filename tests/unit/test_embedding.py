"""A provider's embeddings: what is whole is read, and nothing else is."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.embedding import to_embeddings
from rerankd_server.scoring.scorer import Detail

NO_EMBEDDINGS = (
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError),
)

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
        {},
        optional={
            "index": st.one_of(st.integers(0, 3), scalars),
            "embedding": st.lists(scalars) | st.lists(numbers, min_size=2, max_size=2) | scalars,
        },
    )
    | scalars
)


def reply(*vectors: Any) -> dict[str, Any]:
    return {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}


def row(embedding: Any, *index: Any) -> dict[str, Any]:
    return {"embedding": embedding, **({"index": index[0]} if index else {})}


def unpacked(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 4}f", data)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n))))
def test_vectors_come_out_with_length_1_in_the_texts_order(vectors: list[list[float]]) -> None:
    read = to_embeddings(reply(*vectors))
    assert [*read.vectors] == [*range(len(vectors))]
    assert read.missing == {}
    for data, vector in zip(read.vectors.values(), vectors, strict=True):
        length = math.sqrt(sum(number * number for number in vector))
        assert unpacked(data) == pytest.approx([number / length for number in vector], abs=1e-6)


def test_the_index_counts_and_not_the_place() -> None:
    mixed = {"data": reply([1.0, 0.0], [0.0, 1.0])["data"][::-1], "model": "m"}
    mixed["usage"] = {"prompt_tokens": 7}
    read = to_embeddings(mixed)
    assert read.vectors == to_embeddings(reply([1.0, 0.0], [0.0, 1.0])).vectors
    assert (read.model, read.prompt_tokens, read.completion_tokens) == ("m", 7, 0)


A, B, C = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


@pytest.mark.parametrize(
    ("data", "found", "is_numbered"),
    [
        # without numbers, the order counts
        ([row(A)], {0: A}, False),
        ([row(A), row(B), row(C)], {0: A, 1: B, 2: C}, False),
        ([row(A, None), row(B, None)], {0: A, 1: B}, False),
        ([row(A), {}, row(C)], {0: A, 2: C}, False),
        ([row(A), None, row(C)], {0: A, 2: C}, False),
        # the number 0 is left out
        ([row(A), row(B, 1), row(C, 2)], {0: A, 1: B, 2: C}, True),
        ([row(B, 1), row(A), row(C, 2)], {0: A, 1: B, 2: C}, True),
        ([row(C, 2), row(B, 1), row(A, None)], {0: A, 1: B, 2: C}, True),
        ([row(A), row(C, 2)], {0: A, 2: C}, True),
        # another number is left out, and the others tell it
        ([row(A, 0), row(B), row(C, 2)], {0: A, 1: B, 2: C}, True),
        ([row(A, 0), row(C, 2), row(B)], {0: A, 1: B, 2: C}, True),
        ([row(A, 0), row(B, 1), row(C)], {0: A, 1: B, 2: C}, True),
        # some texts are left out
        ([row(B, 1)], {1: B}, True),
        ([row(A, 0), row(C, 2)], {0: A, 2: C}, True),
        ([row(C, 7)], {7: C}, True),
        ([row(A, 0), None, {}, row(C, 3)], {0: A, 3: C}, True),
        ([row(None), row(B, 1)], {1: B}, True),
        ([], {}, False),
    ],
)
def test_each_vector_is_its_own_texts(
    data: list[Any], found: dict[int, list[float]], is_numbered: bool
) -> None:
    read = to_embeddings({"data": data})
    assert {place: [*unpacked(vector)] for place, vector in read.vectors.items()} == found
    assert read.is_numbered is is_numbered


@pytest.mark.parametrize(
    ("vector", "detail"),
    [
        (None, Detail.EMPTY_REPLY),
        ([], Detail.EMPTY_REPLY),
        ("", Detail.EMPTY_REPLY),
        ([0.0, 0.0], Detail.EMPTY_REPLY),
        ([0, -0.0], Detail.EMPTY_REPLY),
        ([1e-200, 1e-170], Detail.EMPTY_REPLY),
        ([math.nan, 1.0], Detail.UNREADABLE),
        ([math.nan, math.nan], Detail.UNREADABLE),
        ([math.inf, 1.0], Detail.UNREADABLE),
        ([-math.inf, math.inf], Detail.UNREADABLE),
        ([1e200, 1e200], Detail.UNREADABLE),
        ([10**400, 1], Detail.UNREADABLE),
        (["1", "0"], Detail.UNREADABLE),
        ([None, 1.0], Detail.UNREADABLE),
        ([True, False], Detail.UNREADABLE),
        ([[1.0, 0.0]], Detail.UNREADABLE),
        ({"0": 1.0}, Detail.UNREADABLE),
        ("AACAPwAAAAA=", Detail.UNREADABLE),
        (7, Detail.UNREADABLE),
        ([1.0, 0.0, 0.0], Detail.UNREADABLE),
        ([1.0], Detail.UNREADABLE),
    ],
)
def test_what_is_wrong_with_a_vector_costs_its_text_alone(vector: Any, detail: Detail) -> None:
    read = to_embeddings(reply(A, vector, C))
    assert {place: [*unpacked(data)] for place, data in read.vectors.items()} == {0: A, 2: C}
    assert read.missing == {1: detail}
    unnumbered = {"data": [row(A), row(vector), row(C)]}
    assert (to_embeddings(unnumbered).vectors, to_embeddings(unnumbered).missing) == (
        read.vectors,
        read.missing,
    )


@pytest.mark.parametrize(
    ("vector", "detail"),
    [
        ([0.0, 0.0], Detail.EMPTY_REPLY),
        (None, Detail.EMPTY_REPLY),
        ([math.nan, 1.0], Detail.UNREADABLE),
        ("AACAPw==", Detail.UNREADABLE),
    ],
)
def test_a_reply_without_any_vector_says_why(vector: Any, detail: Detail) -> None:
    read = to_embeddings(reply(vector, vector))
    assert (read.vectors, read.missing) == ({}, {0: detail, 1: detail})


@pytest.mark.parametrize("usage", [None, [], [7], "7", {}, {"prompt_tokens": None}, {"a": 1}])
def test_odd_usage_and_model_cost_themselves(usage: Any) -> None:
    read = to_embeddings({**reply(A), "usage": usage, "model": 7})
    assert [*read.vectors] == [0]
    assert (read.prompt_tokens, read.model) == (0, "")


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        [],
        "data",
        {},
        {"data": None},
        {"data": "abc"},
        {"data": {"0": [1.0]}},
        {"data": 7},
        # numbers that cannot be
        {"data": [{"index": 0.5, "embedding": [1.0]}]},
        {"data": [{"index": "0", "embedding": [1.0]}]},
        {"data": [{"index": True, "embedding": [1.0]}]},
        {"data": [{"index": [0], "embedding": [1.0]}]},
        {"data": [{"index": -1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [row(A, 1), row(B, 1), row(C)]},
        # numbers that leave open whose vector it is
        {"data": [row(A, 1), row(B), row(C)]},
        {"data": [row(A, 0), row(B), row(C)]},
        {"data": [row(A, 0), row(B), row(C, 3)]},
        {"data": [row(A, 0), row(B), row(C, 7)]},
        # no size that most have
        reply([1.0], [1.0, 2.0]),
        reply([1.0], [1.0, 2.0], [1.0, 2.0, 3.0]),
        reply([1.0], [1.0], [1.0, 2.0], [1.0, 2.0]),
    ],
)
def test_what_is_not_whole_is_an_error(value: Any) -> None:
    with pytest.raises(NO_EMBEDDINGS):
        to_embeddings(value)


@given(st.one_of(json_values, st.fixed_dictionaries({"data": st.one_of(json_values, rows)})))
def test_whatever_comes_is_whole_vectors_or_an_error_that_is_expected(value: Any) -> None:
    try:
        read = to_embeddings(value)
    except NO_EMBEDDINGS:
        return
    assert not read.vectors.keys() & read.missing.keys()
    assert len({len(data) for data in read.vectors.values()}) <= 1
    assert min([*read.vectors, *read.missing], default=0) >= 0
    for data in read.vectors.values():
        assert math.sqrt(sum(n * n for n in unpacked(data))) == pytest.approx(1, abs=1e-5)


@given(
    st.integers(1, 6).flatmap(lambda n: st.permutations(range(n))),
    st.sets(st.integers(0, 5), max_size=3),
    st.booleans(),
)
def test_vectors_are_never_anothers(order: list[int], left_out: set[int], bare_0: bool) -> None:
    """Each text's vector points at its place; whatever comes in whatever order, it stays so."""
    data = [
        row([math.cos(place / 9), math.sin(place / 9)], *([] if bare_0 and place == 0 else [place]))
        for place in order
        if place not in left_out
    ]
    for place, vector in to_embeddings({"data": data}).vectors.items():
        assert math.atan2(*unpacked(vector)[::-1]) == pytest.approx(place / 9, abs=1e-6)
