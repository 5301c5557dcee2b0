"""Replies that were made of the cache alone, by the bytes of their requests.

The same request again, byte for byte, then costs a hash of it and a look at each pair: a reply
holds for as long as memory has the very findings that it was made of. Where one was scored again,
has grown too old, or was forgotten, the request is answered anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from google.protobuf.message import DecodeError

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.caching.generations import Generations
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import Finding

_ENTRY, _PAIR = 600, 250
"""Bytes that a reply takes beside its message, and for each finding, which memory may forget."""


class Reply(NamedTuple):
    """A reply, and what it was made of."""

    message: bytes
    ranking: Ranking
    """Without its results."""
    evidence: Mapping[bytes, Finding]


class Call(NamedTuple):
    """A request as it came."""

    request: pb.RerankRequest | None
    """None where the reply is known, or where it is no request."""
    digest: bytes
    reply: Reply | None = None


class Replies:
    """Remembers replies in at most about `limit` bytes; 0 for none at all.

    `holds` says whether findings are still what would be read.
    """

    def __init__(self, limit: int, holds: Callable[[Mapping[bytes, Finding]], bool]) -> None:
        self._holds = holds
        self._limit = limit
        self._kept: Generations[Reply] = Generations(limit, _size)

    def read(self, data: bytes) -> Call:
        """Read a request from the wire."""
        digest = sha256(data).digest() if self._limit else b""
        reply = self._kept.get(digest)
        if reply is not None and self._holds(reply.evidence):
            return Call(None, digest, reply)
        try:
            return Call(pb.RerankRequest.FromString(data), digest)
        except DecodeError:
            return Call(None, digest)

    def keep(self, call: Call, message: bytes, ranking: Ranking) -> None:
        """Remember what `call` was answered with, if all of it is from the cache."""
        if ranking.evidence is not None:
            about = replace(ranking, results=())
            self._kept.put(call.digest, Reply(message, about, ranking.evidence))


def _size(reply: Reply) -> int:
    return _ENTRY + len(reply.message) + _PAIR * len(reply.evidence)
