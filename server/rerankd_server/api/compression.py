"""Unpacks compressed requests, up to a limit.

gRPC itself would unpack them whole, whatever that comes to, so it is told to leave them as they
are. It does not pass on how a message was packed, but no message of ours begins as packed ones do:
gzip's first byte is no field's, and zlib's is a field 15, which no request has.
"""

import asyncio

from rerankd_server.errors import unreadable
from rerankd_server.scoring.unpacking import Unpacker, UnpackError

_GZIP = b"\x1f\x8b"
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
SLICE = 1 << 20
"""Bytes that are unpacked at once while other calls wait, or a step more: about a millisecond."""


def is_packed(data: bytes) -> bool:
    """Return whether a message is compressed."""
    return data[:2] == _GZIP or data[:2] in _ZLIB


class Unpacking:
    """One compressed message, of which at most `limit` bytes are unpacked, or a step more."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._limit = limit
        self._unpacker = Unpacker("gzip" if data[:2] == _GZIP else "deflate")
        self._pieces = self._unpacker.unpack(data)

    @property
    def is_over(self) -> bool:
        """Whether all is unpacked."""
        return self._unpacker.is_over

    def first(self) -> bytes:
        """Return the first SLICE bytes. Raises InvalidRequestError, as does `all`."""
        return self._unpack(SLICE)

    async def all(self, first: bytes) -> bytes:
        """Return all, of which `first` is known, without holding up other calls."""
        more = await asyncio.to_thread(self._unpack, self._limit + 1 - len(first))
        if not self.is_over or len(first) + len(more) > self._limit:
            raise unreadable(f"takes more than {self._limit:,} bytes when it is unpacked")
        return first + more

    def _unpack(self, most: int) -> bytes:
        """Return the next bytes: all, or at least `most`."""
        pieces, left = [], most
        try:
            for piece in self._pieces:
                pieces.append(piece)
                left -= len(piece)
                if left <= 0:
                    return b"".join(pieces)
        except UnpackError:
            raise unreadable("cannot be unpacked") from None
        if not self.is_over:
            raise unreadable("is compressed, and cut off")
        return b"".join(pieces)
