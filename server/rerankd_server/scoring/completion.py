"""Reads a provider's chat completion: plain JSON.

Compatible servers leave out or bend much of what OpenAI's documentation promises, so little is
relied on: what is odd about usage, probabilities or the model's name costs those, and never the
answer.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rerankd_server.scoring.answers import Reply, Token
from rerankd_server.scoring.finish import Finish, read_finish
from rerankd_server.scoring.thinking import has_thought

_MOST_TOKENS = (1 << 31) - 1
_ROUNDING = 1e-4
"""How far above 0 a logarithm of a probability of 1 may come out in single precision."""
_LEAST = -1000.0
"""A logarithm of a probability that comes out as 0."""
_MOST_TOGETHER = 1.01
"""What the probabilities at one place may add up to: 1, and a little for rounding."""
_REASONS = ("finish_reason", "native_finish_reason", "finishReason", "stop_reason", "done_reason")
"""Members of a choice that say why the model stopped; the first that is known counts."""
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
"""Members of a message that hold what the model thought."""
_TEXTS = ("text", "output_text", "")
"""Types of the parts of a message that are its text."""


def to_reply(completion: Any) -> Reply:
    """Read `completion`, a decoded JSON object.

    Raises AttributeError, LookupError or TypeError where it is no chat completion at all.
    """
    choice = completion["choices"][0]
    message = choice["message"]
    content = message.get("content")
    said, finish = text_of(content), _finish(choice)
    if not _has_digit(said) and (arguments := _tool_arguments(message)):
        said, finish = arguments, Finish.WHOLE if finish is Finish.TOOL_CALL else finish
    usage = _mapping(completion.get("usage"))
    details = _mapping(usage.get("completion_tokens_details"))
    return Reply(
        text=said,
        finish=finish,
        refused=bool(message.get("refusal")) or any(map(_is_refusal, _sequence(content))),
        tokens=_tokens(choice.get("logprobs")),
        model=text(completion.get("model")),
        prompt_tokens=count(usage.get("prompt_tokens")),
        completion_tokens=count(usage.get("completion_tokens")),
        thinks=any(message.get(name) for name in _THOUGHTS)
        or count(details.get("reasoning_tokens")) > 0
        or has_thought(said),
    )


def finish_reason(completion: Any) -> str:
    """Return the finish reason of what `to_reply` read, as it stands there."""
    return text(completion["choices"][0].get("finish_reason"))


def _finish(choice: Mapping[str, Any]) -> Finish:
    found = (read_finish(choice.get(name)) for name in _REASONS)
    return next((finish for finish in found if finish is not Finish.UNKNOWN), Finish.UNKNOWN)


def text_of(content: object) -> str:
    """Return the text of a message's content: a text, or parts of which some are thoughts.

    JSON that a gateway has decoded is written again. Two parts never make one number.
    """
    match content:
        case bool():
            return ""
        case int() | float():
            return str(content)
        case {"parts": list(parts)}:
            return text_of(parts)
        case dict() if not {"type", "text", "thought"} & content.keys():
            return json.dumps(content)
    parts = content if isinstance(content, list) else [content]
    whole = ""
    for said in filter(None, map(_part, parts)):
        is_between_digits = whole[-1:].isdecimal() and said[0].isdecimal()
        whole = f"{whole}\n{said}" if is_between_digits else whole + said
    return whole


def _part(part: object) -> str:
    match part:
        case str():
            return part
        case {"type": str(kind)} if kind not in _TEXTS:
            return ""  # a thought, an image
        case {"thought": thought} if thought:
            return ""  # Gemini's
        case {"text": str(said)} | {"text": {"value": str(said)}}:
            return said
        case _:
            return ""


def _has_digit(said: str) -> bool:
    return any(map(str.isdecimal, said))


def _is_refusal(part: object) -> bool:
    return bool(_mapping(part).get("refusal"))


def _tool_arguments(message: Mapping[str, Any]) -> str:
    """Return what a model said by calling a tool, as JSON: some answer so where a form is asked."""
    calls = message.get("tool_calls")
    functions = [_mapping(_mapping(call).get("function")) for call in _sequence(calls)]
    functions = functions or [_mapping(message.get("function_call"))]
    arguments = [
        said if isinstance(said, str) else json.dumps(said)
        for function in functions
        if (said := function.get("arguments"))
    ]
    return arguments[0] if len(arguments) == 1 else f"[{', '.join(arguments)}]" if arguments else ""


def _tokens(logprobs: object) -> Sequence[Token]:
    """Return the tokens of a reply; none where what is there cannot be read."""
    content = _mapping(logprobs).get("content")
    tokens = []
    for token in _sequence(content):
        if not isinstance(token, dict) or not isinstance(token.get("token"), str):
            return ()
        tokens.append(Token(token["token"], _alternatives(token)))
    return tuple(tokens)


def _alternatives(token: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the probabilities of the tokens that might stand in a place, the chosen one's too.

    None where a number is no logarithm of a probability, or together they are too much: then they
    say nothing. What has no number, or minus infinity, has no probability.
    """
    logprobs = (*_others(token.get("top_logprobs")), (token["token"], token.get("logprob")))
    found = {name: _probability(logprob) for name, logprob in logprobs if logprob is not None}
    if not found.get(token["token"]):
        return {}
    told = [probability for probability in found.values() if probability is not None]
    if len(told) < len(found) or math.fsum(told) > _MOST_TOGETHER:
        return {}
    return {name: probability for name, probability in found.items() if probability}


def _others(top: object) -> Iterator[tuple[str, object]]:
    """Yield likely tokens with their logarithms: from a list of objects, or from a table."""
    pairs = (
        top.items()
        if isinstance(top, dict)
        else ((each.get("token"), each.get("logprob")) for each in map(_mapping, _sequence(top)))
    )
    yield from ((name, logprob) for name, logprob in pairs if isinstance(name, str))


def _probability(logprob: object) -> float | None:
    """Return the probability whose logarithm this is; None where it is none."""
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    return math.exp(max(min(logprob, 0.0), _LEAST)) if logprob <= _ROUNDING else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def text(value: object) -> str:
    """Return `value` where it is a text, and "" where not."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """Return `value` where it is a number of tokens, and 0 where not."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(0, value), _MOST_TOKENS)
