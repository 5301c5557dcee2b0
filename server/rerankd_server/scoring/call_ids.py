"""Names calls, so that a reply that says which call it answers is not taken by another.

Some servers and gateways say a call's id again in their reply. An id holds a digest of what is
asked: a gateway may answer out of its cache, with the id of the call that asked the same before,
and that is no mistake. The digest is keyed, for ids stand in access logs.
"""

import itertools
import re
import secrets
from collections.abc import Mapping
from hashlib import blake2b

HEADERS = ("x-request-id", "x-client-request-id")
"""Headers that carry an id, there and back."""

_ID = re.compile(r"(?P<whose>[0-9a-f]{16})-(?P<asked>[0-9a-f]{16})-[0-9a-f]+")


class WrongReplyError(Exception):
    """A reply says that it answers another call of ours."""


class CallIds:
    """Gives ids; no other process, and no other of its kind, gives the same."""

    def __init__(self) -> None:
        self._whose = secrets.token_hex(8)
        self._key = secrets.token_bytes(32)
        self._numbers = itertools.count(1)

    def next(self, asked: bytes) -> str:
        """Return the id of the next call, whose body is `asked`."""
        digest = blake2b(asked, key=self._key, digest_size=8).hexdigest()
        return f"{self._whose}-{digest}-{next(self._numbers):x}"


def is_of_another(sent: Mapping[str, str], came: Mapping[str, str]) -> bool:
    """Return whether a reply with the headers `came` is to another call than one with `sent`.

    Only where it bears an id that was given to a call that asked something else. Ids of a server's
    own, and of its other clients, say nothing.
    """
    echoes = [match for name in HEADERS if (match := _ID.fullmatch(came.get(name, "")))]
    if not echoes:
        return False
    ours = [match for name in HEADERS if (match := _ID.fullmatch(sent.get(name, "")))]
    return any(
        echo["whose"] == own["whose"] and echo["asked"] != own["asked"]
        for echo in echoes
        for own in ours
    )
