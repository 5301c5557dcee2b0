"""Reads a provider's chat completion: plain JSON.

Compatible servers leave out or bend much of what OpenAI's documentation promises, so little is
relied on.
"""

import math
from collections.abc import Mapping
from typing import Any

from rerankd_server.scoring.answers import Reply, Token

_MOST_TOKENS = (1 << 31) - 1


def to_reply(completion: Any) -> Reply:
    """Read `completion`, a decoded JSON object.

    Raises AttributeError, LookupError or TypeError where it is no chat completion at all.
    """
    choice = completion["choices"][0]
    message = choice["message"]
    usage = completion.get("usage") or {}
    content = (choice.get("logprobs") or {}).get("content") or ()
    return Reply(
        text=text(message.get("content")),
        finish=text(choice.get("finish_reason")),
        refused=bool(message.get("refusal")),
        tokens=tuple(Token(text(token["token"]), _alternatives(token)) for token in content),
        model=text(completion.get("model")),
        prompt_tokens=count(usage.get("prompt_tokens")),
        completion_tokens=count(usage.get("completion_tokens")),
    )


def _alternatives(token: Any) -> Mapping[str, float]:
    found = {text(token["token"]): _probability(token["logprob"])}
    for other in token.get("top_logprobs") or ():
        found[text(other["token"])] = _probability(other["logprob"])
    return found


def text(value: object) -> str:
    """Give `value` where it is a text, and "" where not."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """Give `value` where it is a number of tokens, and 0 where not."""
    return min(max(0, value), _MOST_TOKENS) if isinstance(value, int) else 0


def _probability(logprob: object) -> float:
    if not isinstance(logprob, int | float) or math.isnan(logprob):
        return 0.0
    return math.exp(min(logprob, 0.0))
