"""The sampling parameters of a call, and what a model turns out to take of them.

Not every model takes every parameter: reasoning models answer 400 to `temperature`, `max_tokens`
and `logprobs`, some servers allow fewer `top_logprobs`, some templates know no system role. We ask
for all we would like; what a reply complains about is given up, and the model is never sent it
again. A model that thinks first is given room for that.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

TEMPERATURE = "temperature"
MAX_TOKENS = "max_tokens"
MORE_TOKENS = "more tokens"
"""A limit of tokens that is too low, rather than one that is not taken."""
LOGPROBS = "logprobs"
FORMAT = "response_format"
SYSTEM = "system"
ENCODING = "encoding_format"

OURS = frozenset(
    {
        *("model", "messages", "input", "temperature", "max_tokens", "logprobs", "top_logprobs"),
        *("response_format", "encoding_format", "stream", "n"),
    }
)
"""Members of a call's body that the settings may not add."""

_LIMIT = r"max[ _-]?(?:completion[ _-]?|output[ _-]?|new[ _-]?)?tokens?"
_NAMES = {
    MORE_TOKENS: re.compile(
        rf"{_LIMIT}\b.{{0,80}}(?:>=|at least|greater than|minimum|below|too (?:low|small))"
        rf"|(?:minimum|at least|below).{{0,40}}{_LIMIT}\b|integer_below_min_value",
        re.IGNORECASE | re.DOTALL,
    ),
    TEMPERATURE: re.compile(r"\btemperature\b", re.IGNORECASE),
    MAX_TOKENS: re.compile(rf"\b{_LIMIT}\b", re.IGNORECASE),
    LOGPROBS: re.compile(
        r"\b(?:top[ _-]?)?log[ _-]?prob(?:s|abilit(?:y|ies))?\b|\btop[ _-]?n[ _-]?tokens\b",
        re.IGNORECASE,
    ),
    FORMAT: re.compile(
        r"\b(?:response[ _-]?(?:format|schema)|json[ _-]?(?:schema|mode|object)"
        r"|structured[ _-]?outputs?|guided[ _-]?(?:json|decoding)|grammar)\b",
        re.IGNORECASE,
    ),
    SYSTEM: re.compile(
        r"\b(?:system|developer)[ _-]?(?:roles?|messages?|prompts?|instructions?)\b"
        r"|\broles?\b.{0,60}\b(?:system|alternate|must be (?:the )?user)"
        r"|['\"`]system['\"`]|\bonly user and assistant\b",
        re.IGNORECASE,
    ),
    ENCODING: re.compile(r"\bencoding[ _-]?format\b", re.IGNORECASE),
}
"""How providers call what we send."""

_LEAST_LIMIT = 16
"""Tokens: the least limit that some providers take."""
ROOM_TO_THINK = 4096
"""Tokens that a model gets which thinks before it answers: several times what thoughts about one
document take."""
_FEW_LOGPROBS = 5
"""What servers that allow few alternatives allow; it still covers the mass."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is sent beside model and texts; None and False leave a parameter out."""

    temperature: float | None = 0.0
    max_tokens: int | None = 8
    """A label takes 1 or 2 tokens; a model that says more has not followed, and is cut off."""
    top_logprobs: int | None = 20
    form: bool = False
    """Whether the reply's form is prescribed, where what is asked for has one."""
    system: bool = True
    """Whether a message is the system's, rather than all in one of the user's."""
    encoding: bool = False
    """Whether the encoding of embeddings is named."""

    def body(self, model: str, written: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the whole body of a call to `model`, of what was `written` and of these."""
        body = {"model": model, **written}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.top_logprobs is not None:
            body["logprobs"] = True
            body["top_logprobs"] = self.top_logprobs
        if not self.form:
            body.pop("response_format", None)
        if not self.encoding:
            body.pop("encoding_format", None)
        if not self.system and "messages" in body:
            joined = "\n\n".join(message["content"] for message in body["messages"])
            body["messages"] = [{"role": "user", "content": joined}]
        return body


EMBEDDING = Parameters(None, None, None, system=False, encoding=True)
"""For calls that ask for embeddings."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What a model takes of what we would like to send."""

    temperature: bool = True
    limit: bool = True
    """Whether a limit of tokens may be set."""
    least_limit: int = 0
    """Tokens below which it may not be."""
    logprobs: int = 20
    """Most alternatives that may be asked for; 0 for no log-probabilities at all."""
    form: bool = True
    system: bool = True
    encoding: bool = True

    def applied(self, wish: Parameters) -> Parameters:
        """Return what is sent of `wish`."""
        limit = wish.max_tokens if self.limit else None
        return Parameters(
            temperature=wish.temperature if self.temperature else None,
            max_tokens=None if limit is None else max(limit, self.least_limit),
            top_logprobs=min(wish.top_logprobs or 0, self.logprobs) or None,
            form=wish.form and self.form,
            system=wish.system and self.system,
            encoding=wish.encoding and self.encoding,
        )

    def without(self, name: str) -> "Takes":
        """Give up the parameter `name`, or ask for less of it where less is worth having."""
        fewer = _FEW_LOGPROBS if self.logprobs > _FEW_LOGPROBS else 0
        is_low = name == MORE_TOKENS and self.least_limit < _LEAST_LIMIT
        limit = replace(self, least_limit=_LEAST_LIMIT) if is_low else replace(self, limit=False)
        return {
            TEMPERATURE: replace(self, temperature=False),
            MAX_TOKENS: limit,
            MORE_TOKENS: limit,
            LOGPROBS: replace(self, logprobs=fewer),
            FORMAT: replace(self, form=False),
            SYSTEM: replace(self, system=False),
            ENCODING: replace(self, encoding=False),
        }[name]

    def with_room(self) -> "Takes":
        """Let the model think before it answers."""
        return replace(self, least_limit=max(self.least_limit, ROOM_TO_THINK))

    def both(self, other: "Takes") -> "Takes":
        """Give up what either gives up."""
        return Takes(
            self.temperature and other.temperature,
            self.limit and other.limit,
            max(self.least_limit, other.least_limit),
            min(self.logprobs, other.logprobs),
            self.form and other.form,
            self.system and other.system,
            self.encoding and other.encoding,
        )


LEAST = Takes(temperature=False, limit=False, logprobs=0, form=False, system=False, encoding=False)
"""What every model takes: one message."""


def named_parameters(text: str) -> Iterator[str]:
    """Yield the parameters of ours that `text` names, in the order in which it does."""
    found = [(m.start(), name) for name, pattern in _NAMES.items() if (m := pattern.search(text))]
    yield from (name for _, name in sorted(found))
