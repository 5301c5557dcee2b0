"""Reading chat completions: what is odd costs itself, and never the answer."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.answers import Answer, read_answer
from rerankd_server.scoring.batch_answers import read_answers
from rerankd_server.scoring.completion import count, finish_reason, text, text_of, to_reply
from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.scorer import Detail

NO_COMPLETION = (
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError),
)


def completion(content: Any = "7", *, reason: Any = "stop", **others: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **others.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": reason, **others.pop("choice", {})}
    return {"object": "chat.completion", "model": "m", "choices": [choice], **others}


def test_a_completion_is_read() -> None:
    read = to_reply(completion(usage={"prompt_tokens": 300, "completion_tokens": 2}))
    assert (read.text, read.finish, read.refused) == ("7", Finish.WHOLE, False)
    assert (read.model, read.prompt_tokens, read.completion_tokens) == ("m", 300, 2)
    assert (read.tokens, read.limit, read.thinks) == ((), None, False)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, "7", [], {}, [{}], {"choices": None}, {"choices": []}, {"choices": {}}),
        *({"choices": "7"}, {"choices": [None]}, {"choices": ["7"]}, {"choices": [{}]}),
        *({"choices": [{"message": None}]}, {"choices": [{"message": "7"}]}, {"choices": [[]]}),
        *({"choices": [{"text": "7"}]}, {"object": "list", "data": []}, {"message": {}}),
    ],
)
def test_what_is_no_completion_is_an_error(value: Any) -> None:
    with pytest.raises(NO_COMPLETION):
        to_reply(value)


TEXT = {"type": "text", "text": "7"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("7", "7"),
        (None, ""),
        ([], ""),
        ([TEXT], "7"),
        (TEXT, "7"),
        (["7"], "7"),
        ([{"text": "7"}], "7"),
        ([{"type": "output_text", "text": "7", "annotations": []}], "7"),
        ([{"type": "text", "text": {"value": "7", "annotations": []}}], "7"),
        ([{"type": "text", "text": "Label: "}, TEXT], "Label: 7"),
        # thoughts, and what is no text
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "3"}]}, TEXT], "7"),
        ([{"type": "thinking", "thinking": "3", "signature": "a"}, TEXT], "7"),
        ([{"type": "reasoning", "text": "3"}, TEXT], "7"),
        ([{"type": "reasoning_text", "text": "3"}, TEXT], "7"),
        ([{"type": "redacted_thinking", "data": "3"}, TEXT], "7"),
        ([{"text": "3", "thought": True}, {"text": "7"}], "7"),
        ({"parts": [{"text": "3", "thought": True}, {"text": "7"}], "role": "model"}, "7"),
        ([{"type": "image_url", "image_url": {"url": "3"}}, TEXT], "7"),
        ([{"type": "text", "text": None}, None, 3, [], TEXT], "7"),
        ([{"type": "thinking", "thinking": "3"}], ""),
        # two parts are not one number
        ([{"type": "text", "text": "1"}, {"type": "text", "text": "0"}], "1\n0"),
        (["1", "", "0"], "1\n0"),
        (["7", "/10"], "7/10"),
        # what a gateway has decoded
        (7, "7"),
        (7.0, "7.0"),
        (7.5, "7.5"),
        (True, ""),
        ({"label": 7}, '{"label": 7}'),
        ({"qd": 7, "mz": 2}, '{"qd": 7, "mz": 2}'),
    ],
)
def test_content_of_any_shape_is_read(content: Any, said: str) -> None:
    assert text_of(content) == said
    assert to_reply(completion(content)).text == said


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ({"refusal": "I can't."}, True),
        ({"content": [{"type": "refusal", "refusal": "I can't."}]}, True),
        ({"content": [TEXT, {"type": "refusal", "refusal": "I can't."}]}, True),
        ({"refusal": None}, False),
        ({"refusal": ""}, False),
        ({"refusal": False}, False),
        ({"refusal": []}, False),
        ({"content": [TEXT]}, False),
        ({"content": [{"type": "text", "text": "7", "refusal": None}]}, False),
    ],
)
def test_a_refusal_is_one_also_as_a_part(message: dict[str, Any], refused: bool) -> None:
    reply = to_reply(completion(message=message))
    assert reply.refused is refused
    assert (read_answer(reply) is Detail.DECLINED) is refused


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ({}, Finish.UNKNOWN),
        ({"finish_reason": None}, Finish.UNKNOWN),
        ({"finish_reason": ""}, Finish.UNKNOWN),
        ({"finish_reason": "endturn"}, Finish.UNKNOWN),
        ({"finish_reason": "MAX_TOKENS"}, Finish.CUT_OFF),
        ({"finish_reason": "error"}, Finish.FAILED),
        ({"finish_reason": {"type": "length"}}, Finish.CUT_OFF),
        ({"finish_reason": None, "native_finish_reason": "SAFETY"}, Finish.DECLINED),
        ({"finishReason": "MAX_TOKENS"}, Finish.CUT_OFF),
        ({"finish_reason": "other", "stop_reason": "end_turn"}, Finish.WHOLE),
        ({"finish_reason": None, "stop_reason": 128009}, Finish.UNKNOWN),
        ({"finish_reason": "stop", "native_finish_reason": "weird"}, Finish.WHOLE),
    ],
)
def test_the_finish_reason_is_looked_for(choice: dict[str, Any], finish: Finish) -> None:
    value = {"choices": [{"message": {"content": "1"}, **choice}]}
    reply = to_reply(value)
    assert reply.finish is finish
    is_read = finish in (Finish.WHOLE, Finish.UNKNOWN)
    assert isinstance(read_answer(reply), Answer) is is_read
    said = choice.get("finish_reason")
    assert finish_reason(value) == (said if isinstance(said, str) else "")


def called(*arguments: Any, **message: Any) -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": "rate", "arguments": a}} for a in arguments]
    return completion(None, reason="tool_calls", message={"tool_calls": calls, **message})


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (called('{"label": 7}'), Answer(0.7)),
        (called({"label": 7}), Answer(0.7)),
        (called("7"), Answer(0.7)),
        (called('{"label": 7}', content=" "), Answer(0.7)),
        (called('{"label": 7}', content="I label it."), Answer(0.7)),
        (called('{"reasoning": "3 of 4", "label": 7}'), Answer(0.7)),
        (
            completion("", reason="function_call", message={"function_call": {"arguments": "7"}}),
            Answer(0.7),
        ),
        # near misses
        (called('{"label": 7}', '{"label": 8}'), Detail.UNREADABLE),
        (called('{"label": 7}', '{"label": 7}'), Detail.UNREADABLE),
        (called('{"label": 7'), Detail.UNREADABLE),
        (called('{"a": 7, "b": 8}'), Detail.UNREADABLE),
        (called('{"label": 7}', content="Label: 3"), Detail.UNREADABLE),
        (called('{"reasoning": 3}'), Detail.UNREADABLE),
        (called(), Detail.EMPTY_REPLY),
        (called("", None, {}), Detail.EMPTY_REPLY),
        (
            completion(None, message={"tool_calls": [7, None, "a", {"function": 7}]}),
            Detail.EMPTY_REPLY,
        ),
        (completion("7", reason="tool_calls"), Detail.UNREADABLE),
    ],
)
def test_what_a_tool_is_called_with_is_an_answer(value: Any, answer: Answer | Detail) -> None:
    assert read_answer(to_reply(value)) == answer


def test_several_calls_answer_about_several_documents() -> None:
    reply = to_reply(called('{"id": "qd", "label": 7}', '{"id": "mz", "label": 2}'))
    assert read_answers(reply, ["qd", "mz"]) == {"qd": Answer(0.7), "mz": Answer(0.2)}
    cut_off = to_reply({**called('{"qd": 7}', '{"mz": 1')})
    assert read_answers(cut_off, ["qd", "mz"]) == {}
    twice = to_reply(called('{"qd": 7, "mz": 2}', '{"qd": 8}'))
    assert read_answers(twice, ["qd", "mz"]) == {"mz": Answer(0.2)}


@pytest.mark.parametrize(
    ("members", "tokens"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2}}, (9, 2)),
        *(({"usage": usage}, (0, 0)) for usage in (None, [], [9, 2], "9", 9, {}, {"a": 1}, True)),
        ({"usage": {"prompt_tokens": None, "completion_tokens": 2}}, (0, 2)),
        ({"usage": {"prompt_tokens": "9", "completion_tokens": 2}}, (0, 2)),
        ({"usage": {"prompt_tokens": 9.5, "completion_tokens": [2]}}, (0, 0)),
        ({"usage": {"prompt_tokens": -9, "completion_tokens": True}}, (0, 0)),
        ({"usage": {"prompt_tokens": 10**30, "completion_tokens": 2}}, ((1 << 31) - 1, 2)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens_details": [1]}}, (9, 0)),
        ({"usage": {"prompt_tokens": math.nan, "completion_tokens": math.inf}}, (0, 0)),
    ],
)
def test_odd_usage_costs_itself(members: dict[str, Any], tokens: tuple[int, int]) -> None:
    reply = to_reply(completion(**members))
    assert (reply.prompt_tokens, reply.completion_tokens) == tokens
    assert read_answer(reply) == Answer(0.7)


@pytest.mark.parametrize("model", [None, 7, [], {}, True])
def test_an_odd_model_costs_itself(model: Any) -> None:
    reply = to_reply(completion(model=model))
    assert reply.model == ""
    assert read_answer(reply) == Answer(0.7)


@pytest.mark.parametrize(
    ("value", "thinks"),
    [
        (completion(), False),
        (completion("<think>a</think>7"), True),
        *((completion(message={name: "a"}), True) for name in ("reasoning", "reasoning_content")),
        (completion(message={"reasoning_details": [{"text": "a"}]}), True),
        (completion(message={"reasoning_content": "", "reasoning": None}), False),
        (completion(usage={"completion_tokens_details": {"reasoning_tokens": 64}}), True),
        (completion(usage={"completion_tokens_details": {"reasoning_tokens": 0}}), False),
        (completion(usage={"completion_tokens_details": {"reasoning_tokens": "a"}}), False),
    ],
)
def test_it_shows_that_a_model_thinks(value: Any, thinks: bool) -> None:
    assert to_reply(value).thinks is thinks


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_what_a_model_thought_is_never_its_answer(name: str) -> None:
    reply = to_reply(completion(None, message={name: "Label: 3"}))
    assert read_answer(reply) is Detail.EMPTY_REPLY
    assert read_answer(to_reply(completion("7", message={name: "Label: 3"}))) == Answer(0.7)


def logprobs(*top: Any, chosen: Any = -0.5, token: Any = "7") -> dict[str, Any]:
    return {"content": [{"token": token, "logprob": chosen, "top_logprobs": list(top)}]}


def alternative(token: Any, logprob: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob}


HALF = math.log(0.5)
MIXED = 0.75
"""The score of a 7 and an 8 that are equally likely."""


@pytest.mark.parametrize(
    ("told", "score"),
    [
        # logarithms
        (logprobs(alternative("7", HALF), alternative("8", HALF), chosen=HALF), MIXED),
        (logprobs(alternative("8", HALF), chosen=HALF), MIXED),
        (logprobs(chosen=-0.1), 0.7),
        (logprobs(alternative("8", -math.inf), chosen=0.0), 0.7),
        (logprobs(alternative("8", -9999.0), chosen=0), 0.7),
        (logprobs(alternative("8", -(10**400)), chosen=-0.0), 0.7),
        (logprobs(alternative("8", None), alternative("8", HALF), chosen=HALF), MIXED),
        (logprobs(alternative("7", HALF), alternative("8", HALF), chosen=None), MIXED),
        (logprobs(chosen=0.00001), 0.7),  # rounding
        (
            {"content": [{"token": "7", "logprob": HALF, "top_logprobs": {"7": HALF, "8": HALF}}]},
            MIXED,
        ),
        # none
        (None, 0.7),
        ([], 0.7),
        ("a", 0.7),
        (7, 0.7),
        ({}, 0.7),
        ({"content": None}, 0.7),
        ({"content": {}}, 0.7),
        ({"content": [None]}, 0.7),
        ({"content": [7]}, 0.7),
        ({"content": [{}]}, 0.7),
        ({"tokens": ["7"], "token_logprobs": [-0.1], "top_logprobs": [{"8": -0.1}]}, 0.7),
        (logprobs(alternative("8", HALF), token=None), 0.7),
        (logprobs(alternative("8", HALF), token=7), 0.7),
        # no logarithms
        (logprobs(alternative("7", 0.9), alternative("8", 0.1), chosen=0.9), 0.7),
        (logprobs(alternative("8", 0.1), chosen=HALF), 0.7),
        (logprobs(alternative("8", HALF), chosen=0.5), 0.7),
        (logprobs(alternative("8", math.nan), chosen=HALF), 0.7),
        (logprobs(alternative("8", HALF), chosen=math.nan), 0.7),
        (logprobs(alternative("8", math.inf), chosen=HALF), 0.7),
        (logprobs(alternative("8", "-0.1"), chosen=HALF), 0.7),
        (logprobs(alternative("8", [HALF]), chosen=HALF), 0.7),
        (logprobs(alternative("8", HALF), chosen="-0.1"), 0.7),
        (logprobs(alternative("8", HALF), chosen=True), 0.7),
        (logprobs(alternative("8", HALF), chosen=None), 0.7),
        (logprobs(alternative("8", HALF), chosen=-math.inf), 0.7),
        (logprobs(alternative("8", 10**400), chosen=HALF), 0.7),
        ({"content": [{"token": "7", "logprob": 0.9, "top_logprobs": {"7": 0.9, "8": 0.1}}]}, 0.7),
        # more than 1 together
        (logprobs(alternative("8", -0.1), alternative("9", -0.1), chosen=-0.1), 0.7),
        (logprobs(alternative("8", -0.5), chosen=-0.5), 0.7),
        (logprobs(alternative("8", 0.0), chosen=0.0), 0.7),
        ({"content": [{"token": "7", "logprob": -0.1, "top_logprobs": {"8": -0.1}}]}, 0.7),
        # of another shape
        (logprobs(None, 7, "8", [], {}, {"token": "8"}, {"logprob": HALF}, chosen=-0.1), 0.7),
        (logprobs(alternative(8, HALF), alternative(None, HALF), chosen=-0.1), 0.7),
        ({"content": [{"token": "7", "logprob": -0.1, "top_logprobs": 7}]}, 0.7),
        ({"content": [{"token": "7", "logprob": -0.1, "top_logprobs": {"8": None}}]}, 0.7),
        # of something else
        (logprobs(alternative("8", HALF), chosen=HALF, token="The"), 0.7),
    ],
)
def test_log_probabilities_count_where_they_are_logarithms(told: Any, score: float) -> None:
    answer = read_answer(to_reply(completion(choice={"logprobs": told})))
    assert isinstance(answer, Answer)
    assert answer.value == pytest.approx(score, abs=1e-6)


def test_one_odd_place_costs_the_probabilities_of_that_place_alone() -> None:
    told = {
        "content": [
            {"token": "Label: ", "logprob": math.nan},
            {"token": "7", "logprob": HALF, "top_logprobs": [alternative("8", HALF)]},
        ]
    }
    answer = read_answer(to_reply(completion("Label: 7", choice={"logprobs": told})))
    assert isinstance(answer, Answer)
    assert answer.value == pytest.approx(MIXED)


def test_helpers_take_what_they_are_for() -> None:
    assert (text("a"), text(None), text(7), text(["a"])) == ("a", "", "", "")
    assert (count(7), count(-7), count(True), count(7.0), count("7")) == (7, 0, 0, 0, 0)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-20, 20),
    st.floats(),
    st.sampled_from(["7", "", "stop", "length", "text", "thinking", "<think>", "Label: 7", "8"]),
)
names = st.sampled_from(
    [
        *("choices", "message", "content", "finish_reason", "logprobs", "usage", "model", "type"),
        *("text", "token", "logprob", "top_logprobs", "tool_calls", "function", "arguments"),
        *("refusal", "reasoning", "thought", "parts", "prompt_tokens", "label", "7"),
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)
likely = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"message": st.dictionaries(names, values, max_size=4)},
                optional={"finish_reason": values, "logprobs": values},
            )
            | values,
            max_size=2,
        )
    },
    optional={"usage": values, "model": values},
)


@given(values | likely)
def test_whatever_comes_is_a_reply_or_an_error_that_is_expected(value: Any) -> None:
    try:
        reply = to_reply(value)
    except NO_COMPLETION:
        return
    assert reply.prompt_tokens >= 0
    assert all(0 < p <= 1 for token in reply.tokens for p in token.alternatives.values())
    assert isinstance(read_answer(reply), Answer | Detail)
    assert set(read_answers(reply, ["qd", "mz"])) <= {"qd", "mz"}
    if not any(c in "0123456789" for c in json.dumps(value)):
        assert isinstance(read_answer(reply), Detail)


@given(values, values, values)
def test_what_is_odd_beside_the_answer_never_costs_it(told: Any, usage: Any, model: Any) -> None:
    value = completion(choice={"logprobs": told}, usage=usage, model=model)
    answer = read_answer(to_reply(value))
    assert isinstance(answer, Answer)
    assert answer.labels or answer == Answer(0.7)
