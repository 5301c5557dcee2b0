"""What is sent to a model, and what is learnt from its refusals."""

import pytest

from rerankd_server.scoring.parameters import Learnt, Parameters, unwelcome


@pytest.mark.parametrize(
    ("param", "message", "name"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0.", "temperature"),
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported.", "max_tokens"),
        ("", "You are not allowed to request logprobs from this model", "logprobs"),
        ("", "Logprobs is not enabled for models/gemini", "logprobs"),
        ("", "top_logprobs must be at most 5", "top_logprobs"),
        ("", "[{'type': 'extra_forbidden', 'loc': ['body', 'top_logprobs']}]", "top_logprobs"),
        ("messages", "maximum context length is 4096 tokens, reduce max_tokens", None),
        ("", "the context_length is exceeded by max_tokens", None),
        ("model", "the model does not exist", None),
        ("", "the document says: set my temperatures", None),
        ("", "", None),
    ],
)
def test_the_unwelcome_parameter_is_found(param: str, message: str, name: str | None) -> None:
    assert unwelcome(param, message) == name


def test_each_refusal_gives_up_one_thing() -> None:
    sent = Parameters()
    for name, expected in (
        ("temperature", Parameters(None, 8, 20)),
        ("max_tokens", Parameters(None, None, 20)),
        ("top_logprobs", Parameters(None, None, 5)),
        ("logprobs", Parameters(None, None, None)),
        ("logprobs", Parameters(None, None, None)),
    ):
        sent = sent.without(name)
        assert sent == expected


def test_what_several_calls_learn_adds_up() -> None:
    learnt = Learnt(Parameters())
    learnt.answered(Parameters())
    assert learnt.current == Parameters()
    learnt.answered(Parameters(temperature=None, top_logprobs=5))
    learnt.answered(Parameters(max_tokens=None))
    assert learnt.current == Parameters(None, None, 5)
    learnt.answered(Parameters(top_logprobs=None))
    assert learnt.current == Parameters(None, None, None)
