"""Replies that were made of the cache alone, by the bytes of their requests.

The same request again, byte for byte, then costs a hash of it. A reply holds as long as nothing
that is stored was replaced (see `Epoch`), and no score that it was made of is too old.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from google.protobuf.message import DecodeError

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.caching.generations import Generations
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Usage

_ENTRY, _SEEN = 900, 120
"""Bytes that a reply takes beside its message, and a sample altogether, as measured."""
_SAMPLE = 1024
"""Bytes at both ends of a request: there most requests differ."""


class Reply(NamedTuple):
    """A reply, and what has to hold for it to be given again."""

    message: bytes
    model: str
    usage: Usage
    epoch: int
    oldest: int
    """When the oldest of its scores was bought, Unix seconds."""


class Call(NamedTuple):
    """A request as it came."""

    arrived: float
    """On the clock of `time.perf_counter`."""
    epoch: int
    """The one that it came in."""
    size: int
    """Bytes."""
    sample: int
    digest: bytes
    """See `Replies`."""
    request: pb.RerankRequest | None
    """None where the reply is known, or where it is no request."""
    reply: Reply | None = None


class Replies:
    """Remembers replies in at most about `limit` bytes; 0 for none at all.

    A request is hashed whole once one like it was answered: hardly any that comes once is hashed.
    `epoch` gives the store's, and `oldest` the Unix time before which scores are too old.
    """

    def __init__(self, limit: int, epoch: Callable[[], int], oldest: Callable[[], float]) -> None:
        self._epoch = epoch
        self._oldest = oldest
        self._seen: Generations[int, bool] = Generations(limit // 8, lambda _: _SEEN)
        """Requests that were answered, by their samples."""
        self._kept: Generations[bytes, Reply] = Generations(limit - limit // 8, _size)

    def read(self, data: bytes) -> Call:
        """Read a request from the wire."""
        arrived, epoch, size = time.perf_counter(), self._epoch(), len(data)
        sample = hash(data[:_SAMPLE] + data[-_SAMPLE:])
        digest = sha256(data).digest() if self._seen.get(sample) else b""
        reply = self._kept.get(digest)
        if reply is not None and reply.epoch == epoch and reply.oldest >= self._oldest():
            return Call(arrived, epoch, size, sample, digest, None, reply)
        try:
            request = pb.RerankRequest.FromString(data)
        except DecodeError:
            request = None
        return Call(arrived, epoch, size, sample, digest, request)

    def keep(self, call: Call, message: bytes, ranking: Ranking) -> None:
        """Remember what `call` was answered with, if it came before and all is from the cache."""
        if not call.digest:
            self._seen.put(call.sample, True)
        elif ranking.oldest is not None:
            reply = Reply(message, ranking.model, ranking.usage, call.epoch, ranking.oldest)
            self._kept.put(call.digest, reply)


def _size(reply: Reply) -> int:
    return _ENTRY + len(reply.message)
