"""The stored value: what was put in comes out, or nothing does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.caching import envelope
from rerankd_server.caching.envelope import judgement, seal, unseal
from rerankd_server.scoring.scorer import Judgement, Score, Vector

KEY = bytes(range(32))
SCORE = Judgement(
    value=0.725,
    labels=(0, 0, 0, 0, 0, 0.1, 0, 0.6, 0.25, 0, 0.05),
    model="gpt-4o-mini-2024-07-18",
    prompt_tokens=412,
    completion_tokens=1,
    scored_at=1_790_000_000,
)
GOLDEN = (
    "01da061422000b10086ab13b8000019c00000105a0"  # version, checksum, score, time, tokens, labels
    "199a999940000ccd"  # the labels' probabilities
    "6770742d346f2d6d696e692d323032342d30372d3138"  # the model
)

scores = st.builds(
    Judgement,
    value=st.integers(0, 1_000_000).map(lambda micro: micro / 1_000_000),
    labels=st.one_of(
        st.just(()),
        st.lists(st.integers(0, 65_535), min_size=11, max_size=11)
        .filter(any)
        .map(lambda shares: tuple(share / 65_535 for share in shares)),
    ),
    model=st.text(st.characters(codec="utf-8"), max_size=60),
    prompt_tokens=st.integers(0, (1 << 24) - 1),
    completion_tokens=st.integers(0, (1 << 24) - 1),
    scored_at=st.integers(0, (1 << 32) - 1),
)


def test_stored_bytes_are_read_by_every_later_version() -> None:
    assert seal(KEY, SCORE).hex() == GOLDEN
    read = judgement(KEY, bytes.fromhex(GOLDEN))
    assert read
    assert (read.value, read.model) == (SCORE.value, SCORE.model)
    assert (read.prompt_tokens, read.completion_tokens) == (412, 1)
    assert read.scored_at == SCORE.scored_at
    assert all(abs(a - b) < 1e-5 for a, b in zip(read.labels, SCORE.labels, strict=True))


@given(scores, st.binary(min_size=32, max_size=32))
def test_round_trip(score: Judgement, key: bytes) -> None:
    data = seal(key, score)
    assert judgement(key, data) == score
    assert unseal(key, data) == Score(
        score.value, score.prompt_tokens, score.completion_tokens, score.scored_at
    )
    assert judgement(key[::-1], data) is None or key == key[::-1]


def test_a_score_of_zero_is_a_score() -> None:
    zero = Score(value=0.0)
    assert unseal(KEY, seal(KEY, zero)) == zero


def test_every_flipped_bit_reads_as_nothing() -> None:
    data = seal(KEY, SCORE)
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            assert unseal(KEY, bytes(flipped)) is None, (place, bit)


def test_every_cut_and_every_extra_byte_reads_as_nothing() -> None:
    data = seal(KEY, SCORE)
    assert [unseal(KEY, data[:length]) for length in range(len(data))] == [None] * len(data)
    assert unseal(KEY, data + b"\0") is None


@given(st.binary(max_size=100))
def test_any_other_bytes_read_as_nothing(data: bytes) -> None:
    assert unseal(KEY, data) is None


def test_a_value_under_another_key_reads_as_nothing() -> None:
    assert unseal(KEY[::-1], seal(KEY, SCORE)) is None


def test_what_does_not_fit_is_kept_as_far_as_it_does() -> None:
    much = Judgement(0.5, model="m" * 1000, prompt_tokens=1 << 30, completion_tokens=1 << 30)
    read = judgement(KEY, seal(KEY, much))
    assert read is not None
    assert read.model == "m" * 255
    assert read.prompt_tokens == read.completion_tokens == (1 << 24) - 1


def test_a_model_name_that_is_no_unicode_does_no_harm() -> None:
    read = judgement(KEY, seal(KEY, Judgement(0.5, model="m\ud800")))
    assert read is not None
    assert read.model == "m?"


def test_an_ordinary_value_is_small() -> None:
    assert len(seal(KEY, SCORE)) <= 51


def test_an_envelope_with_more_labels_than_shares_reads_as_a_miss() -> None:
    cut = seal(KEY, SCORE)[envelope._HEAD.size :][: envelope._SCORE_BODY.size + 3]
    assert unseal(KEY, planted(1, cut)) is None


@given(
    st.builds(
        Vector,
        data=st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=9).map(b"".join),
        model=st.text(st.characters(codec="utf-8"), max_size=60),
        prompt_tokens=st.integers(0, (1 << 24) - 1),
        completion_tokens=st.integers(0, (1 << 24) - 1),
        scored_at=st.integers(0, (1 << 32) - 1),
    )
)
def test_an_embedding_comes_out_as_it_was_put_in(vector: Vector) -> None:
    assert unseal(KEY, seal(KEY, vector)) == vector
    assert judgement(KEY, seal(KEY, vector)) is None


def test_stored_embeddings_are_read_by_every_later_version() -> None:
    vector = Vector(b"\0\0\x80?", "m", 3, 0, 5)
    assert seal(KEY, vector).hex() == "02696535d200000005000003000000016d0000803f"
    assert unseal(KEY, seal(KEY, vector)) == vector


@pytest.mark.parametrize("data", [b"", b"\0\0\x80", b"\0\0\x80?\0"])
def test_an_embedding_of_no_whole_numbers_reads_as_a_miss(data: bytes) -> None:
    assert unseal(KEY, planted(2, envelope._vector_body(Vector(data, "m")))) is None


def test_another_version_reads_as_a_miss() -> None:
    assert unseal(KEY, planted(3, envelope._score_body(SCORE))) is None


def planted(version: int, body: bytes) -> bytes:
    """A value with a right checksum."""
    return envelope._HEAD.pack(version, envelope._checksum(KEY, bytes([version]), body)) + body


@pytest.mark.parametrize(("at", "kept"), [(-5, 0), (1 << 40, (1 << 32) - 1), (7, 7)])
def test_a_clock_that_is_far_off_keeps_no_score_from_being_stored(at: int, kept: int) -> None:
    for finding in (Score(0.5, scored_at=at), Vector(bytes(8), scored_at=at)):
        found = unseal(b"k", seal(b"k", finding))
        assert found is not None
        assert found.scored_at == kept
