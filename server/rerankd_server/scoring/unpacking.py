"""Unpacks what comes packed, in steps of bounded size: a small bomb becomes no large piece.

Replies of providers as they arrive, and requests.
"""

import zlib
from collections.abc import Iterator

ACCEPTED = "gzip, deflate"
"""What providers are asked to pack with, if they do."""

_STEP = 1 << 18
"""Most bytes that come out of one step."""
_GZIP, _ZLIB, _BARE = 31, 15, -15
"""How `zlib` calls the formats: gzip, deflate as it should be, and as some send it."""
_UNASKED = frozenset({"br", "zstd", "compress", "x-compress"})


class UnpackError(Exception):
    """A reply is not packed as it says, or as nobody asked for."""


class Unpacker:
    """Unpacks what the header Content-Encoding calls `encoding`.

    A word that names no packing says nothing: some servers write the character set there. Raises
    UnpackError where a reply is packed in a way that was not asked for.
    """

    def __init__(self, encoding: str) -> None:
        names = [name.strip().lower() for name in encoding.split(",")]
        packings = [name for name in names if name in {"gzip", "x-gzip", "deflate", *_UNASKED}]
        if len(packings) > 1 or not _UNASKED.isdisjoint(packings):
            raise UnpackError
        self._packing = next(iter(packings), "")
        self._zlib: zlib._Decompress | None = None

    @property
    def is_over(self) -> bool:
        """Whether the end of what is packed was reached."""
        return self._zlib is not None and self._zlib.eof

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Yield what the next bytes, `packed`, hold; raises UnpackError where that is nonsense.

        What follows the end of the packed reply is passed over.
        """
        if not self._packing:
            yield packed
            return
        if self._zlib is None:
            self._zlib = zlib.decompressobj(_format(self._packing, packed))
        piece = b"more"
        while piece and not self._zlib.eof:  # what zlib holds back comes without further bytes
            try:
                piece = self._zlib.decompress(packed, _STEP)
            except zlib.error as error:
                raise UnpackError from error
            packed = self._zlib.unconsumed_tail
            if piece:
                yield piece


def _format(packing: str, packed: bytes) -> int:
    """Return the format of what begins with `packed`, at least one byte."""
    if packing != "deflate":
        return _GZIP
    return _ZLIB if packed[0] & 15 == 8 else _BARE  # 8 is the method in zlib's own header
