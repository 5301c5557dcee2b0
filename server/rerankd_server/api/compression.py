"""Unpacks compressed requests, up to a limit.

gRPC itself would unpack them whole, whatever that comes to, so it is told to leave them as they
are. It does not pass on how a message was packed, but no message of ours begins as packed ones do:
gzip's first byte is no field's, and zlib's is a field 15, which no request has.
"""

import asyncio
import zlib

from rerankd_server.errors import InvalidRequestError, Violation

_GZIP = b"\x1f\x8b"
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_EITHER = zlib.MAX_WBITS | 32
"""zlib's word for gzip's format or its own, whichever it is."""
SLICE = 1 << 20
"""Bytes that are unpacked at once while other calls wait: about a millisecond."""


def is_packed(data: bytes) -> bool:
    """Return whether a message is compressed."""
    return data[:2] == _GZIP or data[:2] in _ZLIB


class Unpacking:
    """One compressed message, of which at most `limit` bytes are unpacked."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._rest = data
        self._limit = limit
        self._stream = zlib.decompressobj(_EITHER)

    @property
    def is_over(self) -> bool:
        """Whether all is unpacked."""
        return self._stream.eof

    def first(self) -> bytes:
        """Return the first SLICE bytes. Raises InvalidRequestError, as does `all`."""
        return self._unpack(SLICE)

    async def all(self, first: bytes) -> bytes:
        """Return all, of which `first` is known, without holding up other calls."""
        more = await asyncio.to_thread(self._unpack, self._limit + 1 - len(first))
        if not self._stream.eof or len(first) + len(more) > self._limit:
            raise _wrong(f"takes more than {self._limit:,} bytes when it is unpacked")
        return first + more

    def _unpack(self, most: int) -> bytes:
        try:
            unpacked = self._stream.decompress(self._rest, most)
        except zlib.error:
            raise _wrong("cannot be unpacked") from None
        self._rest = self._stream.unconsumed_tail
        if not self._rest and not self._stream.eof and len(unpacked) < most:
            raise _wrong("is compressed, and cut off")
        return unpacked


def _wrong(what: str) -> InvalidRequestError:
    return InvalidRequestError([Violation("request", what)])
