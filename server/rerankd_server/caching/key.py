"""The content key: equal exactly where everything that can change a score is equal.

A key is 32 bytes: 16 of hash(scorer, query), then 16 of hash(that, document), so that one query's
pairs lie together on disk. Texts go in as they are: folding Unicode or squeezing white space merges
next to nothing in practice, and changes code and tables. What a score does not depend on is not in
the key: ids, `top_n`, the order and number of the other documents.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from rerankd_server.scoring.scorer import Documents, Identity

_VERSION = "1"
HALF = 16
"""Bytes of each half of a key."""


def query_key(identity: bytes, instruction: str, query: str, partition: str = "") -> bytes:
    """Give the 16 bytes that all pairs of one query begin with, under the scorer of `identity`.

    `partition` keeps apart what must not share scores; empty today.
    """
    asked = _fields(_VERSION, partition, instruction, query)
    return sha256(asked + identity).digest()[:HALF]


def written(identity: Identity) -> bytes:
    """Write a scorer's identity as `query_key` takes it."""
    return _fields(*(part for item in sorted(identity.items()) for part in item))


def pair_keys(of_query: bytes, documents: Iterable[str]) -> list[bytes]:
    """Give the 32 bytes of each pair: its query's key and the hash of the document's whole text.

    Written out, for it is most of what a cached ranking costs: see `_fields`.
    """
    head = len(of_query).to_bytes(8, "big") + of_query
    keys = []
    for document in documents:
        text = document.encode()
        digest = sha256(head + len(text).to_bytes(8, "big"))
        digest.update(text)
        keys.append(of_query + digest.digest()[:HALF])
    return keys


def keys_of(documents: Documents, of_query: bytes) -> Sequence[bytes]:
    """Give the keys of `documents`, hashed once for all who ask."""
    if of_query not in documents.keys:
        documents.keys[of_query] = pair_keys(of_query, documents.texts)
    return documents.keys[of_query]


def _fields(*fields: str) -> bytes:
    """Write fields with their lengths, so that no two sequences of them run together."""
    written = b""
    for field in fields:
        data = field.encode()
        written += len(data).to_bytes(8, "big") + data
    return written
