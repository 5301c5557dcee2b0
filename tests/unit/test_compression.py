"""Compressed requests are unpacked, up to a limit."""

import gzip
import zlib

import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given
from hypothesis import strategies as st

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.compression import SLICE, Unpacking, is_packed
from rerankd_server.errors import InvalidRequestError

LIMIT = 3 * SLICE


async def unpacked(data: bytes) -> bytes:
    unpacking = Unpacking(data, LIMIT)
    first = unpacking.first()
    return first if unpacking.is_over else await unpacking.all(first)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda d: zlib.compress(d, 9)])
@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1, LIMIT])
async def test_what_was_packed_is_unpacked(pack: object, size: int) -> None:
    assert callable(pack)
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert is_packed(pack(data))
    assert await unpacked(pack(data)) == data


@pytest.mark.parametrize("size", [LIMIT + 1, 50 * LIMIT])
async def test_what_is_too_large_is_unpacked_no_further(size: int) -> None:
    with pytest.raises(InvalidRequestError, match="takes more than 3,145,728 bytes"):
        await unpacked(gzip.compress(bytes(size)))


@pytest.mark.parametrize(
    "data",
    [b"\x1f\x8b", b"\x1f\x8bgarbage...", gzip.compress(b"x" * 999)[:-9]],
    ids=["cut", "garbage", "cut at its end"],
)
async def test_what_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"^request: "):
        await unpacked(data)


@given(st.text(), st.lists(st.text()), st.integers(0, 100))
def test_no_request_looks_packed(query: str, texts: list[str], top_n: int) -> None:
    documents = [pb.Document(text=text) for text in texts]
    request = pb.RerankRequest(query=query, documents=documents, top_n=top_n)
    assert not is_packed(request.SerializeToString())


@pytest.mark.parametrize(
    "message",
    [
        pb.RerankRequest,
        pb.ListModelsRequest,
        health_pb2.HealthCheckRequest,
        reflection_pb2.ServerReflectionRequest,
    ],
)
def test_no_field_begins_as_what_is_packed_does(message: type[Message]) -> None:
    assert 15 not in message.DESCRIPTOR.fields_by_number
