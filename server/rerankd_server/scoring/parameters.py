"""The sampling parameters of a call, and what a model teaches of them.

Not every model takes every parameter: reasoning models answer 400 to `temperature`, `max_tokens`
and `logprobs`, and some servers allow fewer `top_logprobs`. We ask for all we would like; where a
reply names one as unwelcome, that one is given up, and the model is never sent it again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_NAMES = re.compile(
    r"\b(temperature|max_tokens|(?:top_)?logprobs|response_format|response_schema|json_schema)\b",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"context[ _]length|context[ _]window", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is sent beside model and messages; None leaves a parameter out."""

    temperature: float | None = 0.0
    max_tokens: int | None = 8
    """A label takes 1 or 2 tokens; a model that says more has not followed, and is cut off."""
    top_logprobs: int | None = 20
    structured: bool | None = None
    """Whether the reply's form is prescribed, where what is asked for has one."""

    def arguments(self) -> Mapping[str, Any]:
        """Give the members of a call's body; the reply's form is not among them."""
        arguments: dict[str, Any] = {}
        if self.temperature is not None:
            arguments["temperature"] = self.temperature
        if self.max_tokens is not None:
            arguments["max_tokens"] = self.max_tokens
        if self.top_logprobs is not None:
            arguments["logprobs"] = True
            arguments["top_logprobs"] = self.top_logprobs
        return arguments

    def least(self, other: "Parameters") -> "Parameters":
        """Give up what either gives up."""
        return Parameters(
            None if None in (self.temperature, other.temperature) else self.temperature,
            None if None in (self.max_tokens, other.max_tokens) else self.max_tokens,
            min(self.top_logprobs, other.top_logprobs)
            if self.top_logprobs is not None and other.top_logprobs is not None
            else None,
            None if None in (self.structured, other.structured) else self.structured,
        )

    def without(self, name: str) -> "Parameters":
        """Give up the parameter `name`, or ask for less of it where less is worth having."""
        match name:
            case "temperature":
                return replace(self, temperature=None)
            case "max_tokens":
                return replace(self, max_tokens=None)
            case "response_format" | "response_schema" | "json_schema":
                return replace(self, structured=None)
            case _:
                # 5 is what servers that allow few alternatives allow; it still covers the mass.
                return replace(self, top_logprobs=5 if self.top_logprobs == 20 else None)


NO_PARAMETERS = Parameters(None, None, None)
"""For calls that take none of ours."""


def unwelcome(param: str, message: str) -> str | None:
    """Name the parameter that a provider's 4xx reply complains about, if it is one of ours."""
    if _TOO_LONG.search(message):
        return None  # such replies mention max_tokens, but it is the document that is too long
    found = _NAMES.search(param) or _NAMES.search(message)
    return found[1].lower() if found else None


class Learnt:
    """The parameters to send to one model: all of them at first, then what it has not refused.

    A refusal is believed only once the model has answered without what it refused: an error that
    merely quotes a document must not change how other documents are scored.
    """

    def __init__(self, wish: Parameters) -> None:
        self.current = wish

    def answered(self, sent: Parameters) -> bool:
        """Remember that the model answered to `sent`. True where that gives something up."""
        before = self.current
        self.current = before.least(sent)
        return self.current != before
