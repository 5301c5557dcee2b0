"""What is sent to a model, and what is learnt from its refusals."""

import pytest

from rerankd_server.scoring.parameters import Learnt, Parameters, unwelcome


@pytest.mark.parametrize(
    ("param", "message", "name"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0.", "temperature"),
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported.", "max_tokens"),
        (None, "You are not allowed to request logprobs from this model", "logprobs"),
        (None, "Logprobs is not enabled for models/gemini", "logprobs"),
        (None, "top_logprobs must be at most 5", "top_logprobs"),
        (None, "[{'type': 'extra_forbidden', 'loc': ['body', 'top_logprobs']}]", "top_logprobs"),
        ("messages", "maximum context length is 4096 tokens, reduce max_tokens", None),
        (None, "the context_length is exceeded by max_tokens", None),
        ("model", "the model does not exist", None),
        (None, "the document says: set my temperatures", None),
        (None, "", None),
    ],
)
def test_the_unwelcome_parameter_is_found(
    param: str | None, message: str, name: str | None
) -> None:
    assert unwelcome(param, message) == name


def test_each_refusal_gives_up_one_thing() -> None:
    learnt = Learnt(Parameters())
    for name, expected in (
        ("temperature", Parameters(None, 8, 20)),
        ("max_tokens", Parameters(None, None, 20)),
        ("top_logprobs", Parameters(None, None, 5)),
        ("logprobs", Parameters(None, None, None)),
    ):
        assert learnt.refuse(learnt.current, name)
        assert learnt.current == expected


def test_calls_in_flight_together_teach_once() -> None:
    learnt = Learnt(Parameters())
    sent = learnt.current
    assert learnt.refuse(sent, "logprobs")
    assert learnt.refuse(sent, "logprobs")  # worth a new try: something else is sent by now
    assert learnt.current.top_logprobs == 5


def test_a_refusal_of_what_was_not_sent_is_not_worth_a_try() -> None:
    learnt = Learnt(Parameters(temperature=None))
    assert not learnt.refuse(learnt.current, "temperature")
