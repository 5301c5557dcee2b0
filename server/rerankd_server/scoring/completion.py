"""Reads a provider's chat completion.

Compatible servers leave out or bend much of what the SDK's types promise, so none is relied on.
"""

import math
from collections.abc import Mapping
from typing import Any

from rerankd_server.scoring.answers import Reply, Token

_MOST_TOKENS = (1 << 31) - 1


def to_reply(completion: Any) -> Reply:
    """Read `completion`.

    Raises AttributeError, LookupError or TypeError where it is no chat completion at all.
    """
    choice = completion.choices[0]
    message = choice.message
    if message is None:
        raise LookupError("a choice without a message")
    usage = getattr(completion, "usage", None)
    content = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    return Reply(
        text=_text(getattr(message, "content", None)),
        finish=_text(choice.finish_reason),
        refused=bool(getattr(message, "refusal", None)),
        tokens=tuple(Token(_text(token.token), _alternatives(token)) for token in content),
        model=_text(getattr(completion, "model", None)),
        prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
        completion_tokens=_count(getattr(usage, "completion_tokens", None)),
    )


def _alternatives(token: Any) -> Mapping[str, float]:
    found = {_text(token.token): _probability(token.logprob)}
    for other in token.top_logprobs or ():
        found[_text(other.token)] = _probability(other.logprob)
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return min(max(0, value), _MOST_TOKENS) if isinstance(value, int) else 0


def _probability(logprob: object) -> float:
    if not isinstance(logprob, int | float) or math.isnan(logprob):
        return 0.0
    return math.exp(min(logprob, 0.0))
