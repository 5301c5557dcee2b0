"""How large a reply may be: what the call that it answers can need, several times over.

A reply is held in memory before it is read, so one without an end would cost all that there is. The
figures are of JSON at its widest: indented, and every character escaped.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

MOST: ContextVar[int] = ContextVar("most")
"""Most bytes of a reply, unpacked, that the current task may read."""

_BASE = 1 << 20
"""Bytes of a reply beside what grows with the call: a filter's report, thoughts that no limit of
tokens counts."""
_OF_A_TOKEN = 64
_OF_AN_ALTERNATIVE = 512
"""Bytes of one token in a list of log-probabilities: its text, its bytes, its logarithm."""
_TOKENS = 16_384
"""What a model that is set no limit is expected to say at most, its thoughts included."""
_OF_A_TEXT = 256 << 10
"""Bytes of one text's vector: 8,192 numbers of 32 characters."""
_MOST = 64 << 20
"""Bytes that no call needs, unless the settings say so."""


class TooLargeError(Exception):
    """A reply has more than `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"sends replies of more than {most:,} bytes; raise `max_reply_bytes` if they are real"
        )


def most_bytes(body: Mapping[str, Any]) -> int:
    """Return the most bytes, unpacked, of a reply to a call with this `body`."""
    if "input" in body:
        return min(_BASE + len(body["input"]) * _OF_A_TEXT, _MOST)
    limits = (body.get("max_tokens"), body.get("max_completion_tokens"))
    tokens = max((limit for limit in limits if isinstance(limit, int)), default=_TOKENS)
    alternatives = 1 + body.get("top_logprobs", 0) if body.get("logprobs") else 0
    return min(_BASE + tokens * (_OF_A_TOKEN + alternatives * _OF_AN_ALTERNATIVE), _MOST)
