"""What is sent to a model, and what is learnt from its refusals."""

import pytest

from rerankd_server.scoring.learning import Learnt
from rerankd_server.scoring.parameters import (
    EMBEDDING,
    LEAST,
    ROOM_TO_THINK,
    Parameters,
    Takes,
    named_parameters,
)
from support.clock import FastClock

WISH = Parameters(form=True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Unsupported value: 'temperature' does not support 0.", ["temperature"]),
        ("Unsupported parameter: 'max_tokens' is not supported.", ["max_tokens"]),
        ("You are not allowed to request logprobs from this model", ["logprobs"]),
        ("Logprobs is not enabled for models/gemini", ["logprobs"]),
        ("top_logprobs must be at most 5", ["logprobs"]),
        ("[{'type': 'extra_forbidden', 'loc': ['body', 'top_logprobs']}]", ["logprobs"]),
        ("log probabilities cannot be had", ["logprobs"]),
        ("maxOutputTokens is out of range", ["max_tokens"]),
        ("`max_new_tokens` must be strictly positive", ["max_tokens"]),
        ("use max_completion_tokens, without temperature", ["max_tokens", "temperature"]),
        ("Expected max_output_tokens >= 16", ["more tokens"]),
        ("max_tokens must be at least 16", ["more tokens"]),
        ("integer_below_min_value", ["more tokens"]),
        ("This model has no JSON mode", ["response_format"]),
        ("Structured outputs are not available", ["response_format"]),
        ("invalid responseSchema", ["response_format"]),
        ("System role not supported", ["system"]),
        ("Developer instruction is not enabled for models/gemma", ["system"]),
        ("Conversation roles must alternate user/assistant/user", ["system"]),
        ("Only user and assistant roles are supported!", ["system"]),
        ("'system' is not one of ['user', 'assistant']", ["system"]),
        ("Unknown field: encoding_format", ["encoding_format"]),
        ("the model does not exist", []),
        ("the document says: set my temperatures", []),
        ("the solar system", []),
        ("", []),
    ],
)
def test_parameters_are_found_in_any_words(text: str, names: list[str]) -> None:
    found = [*named_parameters(text)]
    if "more tokens" in found:
        found = [name for name in found if name != "max_tokens"]
    assert found == names


def test_each_refusal_gives_up_one_thing() -> None:
    takes = Takes()
    for name, expected in (
        ("temperature", Parameters(None, 8, 20, form=True)),
        ("logprobs", Parameters(None, 8, 5, form=True)),
        ("logprobs", Parameters(None, 8, None, form=True)),
        ("logprobs", Parameters(None, 8, None, form=True)),
        ("more tokens", Parameters(None, 16, None, form=True)),
        ("more tokens", Parameters(None, None, None, form=True)),
        ("response_format", Parameters(None, None, None)),
        ("system", Parameters(None, None, None, system=False)),
    ):
        takes = takes.without(name)
        assert takes.applied(WISH) == expected
    assert Takes().without("max_tokens").applied(WISH).max_tokens is None
    assert not Takes().without("encoding_format").applied(EMBEDDING).encoding


def test_a_body_is_what_was_written_and_what_is_taken() -> None:
    messages = [{"role": "system", "content": "judge"}, {"role": "user", "content": "this"}]
    written = {"messages": messages, "response_format": {}, "encoding_format": "float"}
    assert WISH.body("m", written) == {
        "model": "m",
        "messages": messages,
        "response_format": {},
        "temperature": 0,
        "max_tokens": 8,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert LEAST.applied(WISH).body("m", written) == {
        "model": "m",
        "messages": [{"role": "user", "content": "judge\n\nthis"}],
    }
    assert messages[0]["role"] == "system"  # what was written stays as it was


def test_room_to_think_is_never_less_than_what_is_wished() -> None:
    takes = Takes().with_room()
    assert takes.applied(Parameters(max_tokens=8)).max_tokens == ROOM_TO_THINK
    assert takes.applied(Parameters(max_tokens=99_999)).max_tokens == 99_999
    assert takes.applied(Parameters(max_tokens=None)).max_tokens is None


def test_what_several_calls_learn_adds_up() -> None:
    learnt = Learnt(FastClock())
    assert not learnt.answered(Takes())
    assert learnt.answered(Takes(temperature=False, logprobs=5))
    assert learnt.answered(Takes(limit=False))
    assert not learnt.answered(Takes(limit=False))
    assert learnt.takes == Takes(temperature=False, logprobs=5, limit=False)
    assert learnt.answered(Takes(logprobs=0))
    assert learnt.takes.applied(WISH) == Parameters(None, None, None, form=True)


def test_a_form_that_was_taken_is_doubted_only_after_some_refusals() -> None:
    learnt = Learnt(FastClock())
    doubts = [learnt.form_may_be_wrong]
    learnt.answered(Takes())
    for _ in range(3):
        doubts.append(learnt.form_may_be_wrong)
        learnt.refused_in_a_row += 1
    doubts.append(learnt.form_may_be_wrong)
    learnt.answered(Takes())
    doubts.append(learnt.form_may_be_wrong)
    assert doubts == [True, False, False, False, True, False]


async def test_after_some_trials_in_vain_there_is_none_for_a_while() -> None:
    clock = FastClock()
    trials = Learnt(clock).bare
    for _ in range(2):
        async with trials.turn() as may_try:
            assert may_try
            trials.ended(in_vain=True)
    async with trials.turn() as may_try:
        assert not may_try
    clock.time += 60
    async with trials.turn() as may_try:
        assert may_try
        trials.ended(in_vain=False)
    async with trials.turn() as may_try:
        assert may_try
