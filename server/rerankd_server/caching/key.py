"""The content key: equal exactly where everything that can change a score is equal.

A key is 32 bytes: 16 of hash(scorer, query), then 16 of hash(that, document), so that one query's
pairs lie together on disk. Texts go in as they are: folding Unicode or squeezing white space merges
next to nothing in practice, and changes code and tables. What a score does not depend on is not in
the key: ids, `top_n`, the order and number of the other documents.
"""

from collections.abc import Iterable
from hashlib import sha256

from rerankd_server.scoring.scorer import Identity

_VERSION = "1"
_HALF = 16


def query_key(identity: Identity, instruction: str, query: str, partition: str = "") -> bytes:
    """Give the 16 bytes that all pairs of one query, under one scorer, begin with.

    `partition` keeps apart what must not share scores; empty today.
    """
    fields = [_VERSION, partition, instruction, query]
    for name, value in sorted(identity.items()):
        fields += (name, value)
    return _digest(*(field.encode() for field in fields))


def pair_keys(of_query: bytes, documents: Iterable[str]) -> list[bytes]:
    """Give the 32 bytes of each pair: its query's key and the hash of the document's whole text.

    Written out, for it is most of what a cached ranking costs: see `_digest`.
    """
    head = len(of_query).to_bytes(8, "big") + of_query
    keys = []
    for document in documents:
        text = document.encode()
        digest = sha256(b"%b%b%b" % (head, len(text).to_bytes(8, "big"), text)).digest()
        keys.append(of_query + digest[:_HALF])
    return keys


def _digest(*fields: bytes) -> bytes:
    """SHA-256 over length-prefixed fields, so that no two inputs run together; the first half."""
    digest = sha256()
    for field in fields:
        digest.update(len(field).to_bytes(8, "big"))
        digest.update(field)
    return digest.digest()[:_HALF]
