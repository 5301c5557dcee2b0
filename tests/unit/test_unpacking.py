"""Unpacking replies as they come, in pieces that stay small."""

import gzip
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.unpacking import Unpacker, UnpackError

BOMB = zlib.compress(bytes(64 << 20), 9)
LARGEST = 1 << 18


def bare(data: bytes) -> bytes:
    """What some servers take deflate to be."""
    return zlib.compress(data)[2:-4]


def as_it_is(data: bytes) -> bytes:
    return data


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " GZIP ": gzip.compress,
    "identity, gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": bare,
    "": as_it_is,
    "identity": as_it_is,
    "utf-8": as_it_is,  # no packing at all, though some say so
}


def unpack(encoding: str, pieces: Sequence[bytes]) -> bytes:
    unpacker = Unpacker(encoding)
    return b"".join(plain for piece in pieces for plain in unpacker.unpack(piece))


@given(st.sampled_from(sorted(PACKINGS)), st.binary(max_size=2000), st.integers(1, 50))
def test_what_was_packed_comes_out_however_it_is_cut(encoding: str, data: bytes, size: int) -> None:
    packed = PACKINGS[encoding](data)
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert unpack(encoding, pieces) == data


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_large_reply_comes_out_whole(encoding: str) -> None:
    data = b"".join(i.to_bytes(4, "big") for i in range(500_000))
    assert unpack(encoding, [PACKINGS[encoding](data)]) == data


def test_no_piece_is_large() -> None:
    pieces = [len(piece) for piece in Unpacker("deflate").unpack(BOMB)]
    assert sum(pieces) == 64 << 20
    assert max(pieces) <= LARGEST


def test_nothing_is_unpacked_that_nobody_takes() -> None:
    pieces = Unpacker("deflate").unpack(BOMB)
    assert len(next(pieces)) <= LARGEST
    pieces.close()  # type: ignore[attr-defined]


def test_what_follows_the_end_is_passed_over() -> None:
    assert unpack("gzip", [gzip.compress(b"{}") + b"more", b"and more"]) == b"{}"


def test_what_a_server_flushed_is_read_without_an_end() -> None:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(b"{}") + packer.flush(zlib.Z_SYNC_FLUSH)
    assert unpack("gzip", [packed]) == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("packed", [b"no such thing", b"\x1f\x8b\x08and then nonsense"])
def test_nonsense_cannot_be_unpacked(encoding: str, packed: bytes) -> None:
    with pytest.raises(UnpackError):
        unpack(encoding, [packed])


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br"])
def test_what_nobody_asked_for_is_not_unpacked(encoding: str) -> None:
    with pytest.raises(UnpackError):
        Unpacker(encoding)
