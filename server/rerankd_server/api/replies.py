"""Replies that were made of the cache alone, by the bytes of their requests.

The same request again, byte for byte, then costs a comparison. A reply holds as long as nothing
that is stored was replaced (see `caching.epoch`), and no score that it was made of is too old.
"""

from collections.abc import Callable
from typing import NamedTuple

from rerankd_server.api.again import Again
from rerankd_server.api.call import Call
from rerankd_server.caching.generations import Generations
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Usage

_ENTRY = 900
"""Bytes that a reply takes beside the two messages, as measured."""
_SAMPLE = 1024
"""Bytes at both ends of a request: there most requests differ."""


class Reply(NamedTuple):
    """A reply, and what has to hold for it to be given again."""

    request: bytes
    message: bytes
    model: str
    usage: Usage
    epoch: int
    oldest: int
    """When the oldest of its scores was bought, Unix seconds."""


class Replies:
    """Remembers replies in at most about `limit` bytes; 0 for none at all.

    Only requests that come again are remembered. `is_fresh` tells whether a score that was bought
    in some Unix second may be used.
    """

    def __init__(self, limit: int, is_fresh: Callable[[int], bool]) -> None:
        self._is_fresh = is_fresh
        self._answered = Again(limit // 8)
        """Requests, by their samples."""
        self._kept: Generations[int, Reply] = Generations(limit - limit // 8, _size)

    def find(self, call: Call) -> Reply | None:
        """Give what the same request was answered with before, if it still holds."""
        data = call.data
        call.sample = hash(data[:_SAMPLE] + data[-_SAMPLE:])
        reply = self._kept.get(call.sample)
        if reply is None or reply.request != data:
            return None
        if reply.epoch != call.epoch or not self._is_fresh(reply.oldest):
            return None
        return reply

    def keep(self, call: Call, message: bytes, ranking: Ranking) -> None:
        """Remember what `call` was answered with, if it came before and all is from the cache."""
        if self._answered.note(call.sample) and ranking.oldest is not None:
            reply = Reply(
                call.data, message, ranking.model, ranking.usage, call.epoch, ranking.oldest
            )
            self._kept.put(call.sample, reply)


def _size(reply: Reply) -> int:
    return _ENTRY + len(reply.request) + len(reply.message)
