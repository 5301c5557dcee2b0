"""How large a reply may be: real ones fit, however wide they are written."""

import json
from typing import Any

import pytest

from rerankd_server.scoring.batch_prompt import codes
from rerankd_server.scoring.parameters import LEAST, ROOM_TO_THINK, Parameters
from rerankd_server.scoring.reply_size import most_bytes

MIB = 1 << 20


def body(wish: Parameters) -> dict[str, Any]:
    return dict(wish.body("m", {"messages": [{"role": "user", "content": "a"}]}))


def size(value: Any) -> int:
    """Bytes of JSON as it is sent at its widest: each number on a line, no letter but ASCII."""
    return len(json.dumps(value, indent=2).encode())


def completion(tokens: int, alternatives: int, text: str = "語") -> dict[str, Any]:
    one = {"token": text, "logprob": -17.123456789012345, "bytes": list((text * 2).encode())}
    entry = {**one, "top_logprobs": [one] * alternatives}
    message = {"content": text * tokens, "reasoning_content": text * tokens}
    logprobs = {"content": [entry] * tokens} if alternatives else None
    return {"choices": [{"message": message, "logprobs": logprobs}]}


@pytest.mark.parametrize("tokens", [8, 10 * 12 + 32, ROOM_TO_THINK])
@pytest.mark.parametrize("alternatives", [None, 5, 20])
def test_a_completion_fits_with_room(tokens: int, alternatives: int | None) -> None:
    most = most_bytes(body(Parameters(max_tokens=tokens, top_logprobs=alternatives)))
    assert 1.2 * size(completion(tokens, alternatives or 0)) < most
    assert most <= 64 * MIB


def test_thoughts_fit_that_no_limit_counts() -> None:
    least = most_bytes(body(LEAST.applied(Parameters())))
    assert size(completion(30_000, 0)) < least <= 4 * MIB
    assert size(completion(30_000, 0)) < most_bytes(body(Parameters()))


def test_a_limit_that_the_settings_add_counts() -> None:
    added = {**body(Parameters(max_tokens=None, top_logprobs=None)), "max_completion_tokens": 8}
    assert most_bytes(added) == most_bytes(body(Parameters(max_tokens=8, top_logprobs=None)))


@pytest.mark.parametrize("texts", [1, 64, 2048])
def test_vectors_fit(texts: int) -> None:
    row = {"object": "embedding", "index": 1, "embedding": [-0.00012345678901234567] * 4096}
    most = most_bytes({"model": "m", "input": ["a"] * texts})
    assert min(texts * size(row), 64 * MIB) <= most <= 64 * MIB
    assert texts > 64 or most < texts * MIB + 2 * MIB


def test_a_small_call_cannot_cost_much_memory() -> None:
    assert most_bytes(body(Parameters())) < 2 * MIB
    assert most_bytes({"input": ["a"]}) < 2 * MIB


@pytest.mark.parametrize("odd", [{"max_tokens": "many"}, {"max_tokens": None}, {"input": []}, {}])
def test_an_odd_body_has_a_bound_too(odd: dict[str, Any]) -> None:
    assert MIB <= most_bytes(odd) <= 64 * MIB


def test_a_batch_fits() -> None:
    labels = dict.fromkeys(codes(50), 10)
    tokens = 12 * 50 + 32
    most = most_bytes(body(Parameters(max_tokens=tokens)))
    assert size(completion(tokens, 20)) + size(labels) < most
