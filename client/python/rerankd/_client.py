"""The clients: one that blocks, and its twin for asyncio."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack, cast

import grpc.aio

import grpc
from rerankd._channel import (
    ADDRESS,
    Connection,
    metadata_of,
    open_aio_channel,
    open_channel,
)
from rerankd._errors import to_error
from rerankd._types import (
    Document,
    Model,
    Options,
    Ranking,
    to_models,
    to_ranking,
    to_request,
)
from rerankd.v1 import rerank_pb2 as pb
from rerankd.v1.rerank_pb2_grpc import RerankServiceStub

if TYPE_CHECKING:
    from rerankd.v1.rerank_pb2_grpc import RerankServiceAsyncStub

_ELSEWHERE = "the end of its channel"


class Client:
    """A client that blocks. Threads may share it; close it, or use it as a context manager.

    `timeout` is each call's deadline in seconds; None waits for ever. `connection` is TLS, token,
    retries and keepalive: see `Connection`. `channel` is one of your own in place of all that, to
    wherever it leads; it stays yours to close. Raises ValueError for an address that gRPC does not
    have, and for a token that would be sent in plain text.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        timeout: float | None = 60.0,
        channel: grpc.Channel | None = None,
        **connection: Unpack[Connection],
    ) -> None:
        self._timeout = timeout
        self._where = address if channel is None else _ELSEWHERE
        self._metadata = metadata_of(connection)
        self._own_channel = channel is None
        self._channel = channel or open_channel(address, connection)
        self._stub = RerankServiceStub(self._channel)

    def rerank(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Ranking:
        """Rank `documents` by how relevant they are to `query`; see `Options` for options.

        `timeout` replaces the client's. Raises RerankError.
        """
        request = to_request(query, documents, options, partial_results=False)
        with _errors(self._where):
            return to_ranking(
                self._stub.RerankOnce(
                    request, timeout=self._seconds(timeout), metadata=self._metadata
                )
            )

    def rerank_partial(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Ranking]:
        """Yield better and better rankings, each of them whole; the last has `is_final` set.

        Takes and raises the same as `rerank`. Leaving the loop early ends the call.
        """
        request = to_request(query, documents, options, partial_results=True)
        with _errors(self._where):
            call = self._stub.Rerank(
                request, timeout=self._seconds(timeout), metadata=self._metadata
            )
            try:
                for response in call:
                    yield to_ranking(response)
            finally:
                call.cancel()

    def models(self, *, timeout: float | None = None) -> Sequence[Model]:
        """List the models that a call may name, the default first. Raises RerankError."""
        with _errors(self._where):
            request = pb.ListModelsRequest()
            return to_models(
                self._stub.ListModels(
                    request, timeout=self._seconds(timeout), metadata=self._metadata
                )
            )

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

    def close(self) -> None:
        """Close the channel."""
        if self._own_channel:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """The asyncio twin of `Client`: same methods, same arguments, same errors."""

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        timeout: float | None = 60.0,
        channel: grpc.aio.Channel | None = None,
        **connection: Unpack[Connection],
    ) -> None:
        self._timeout = timeout
        self._where = address if channel is None else _ELSEWHERE
        self._metadata = metadata_of(connection)
        self._own_channel = channel is None
        self._channel = channel or open_aio_channel(address, connection)
        self._stub = cast("RerankServiceAsyncStub", RerankServiceStub(self._channel))

    async def rerank(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # it becomes the call's gRPC deadline
        **options: Unpack[Options],
    ) -> Ranking:
        """Rank `documents`; see `Client.rerank`."""
        request = to_request(query, documents, options, partial_results=False)
        with _errors(self._where):
            return to_ranking(
                await self._stub.RerankOnce(
                    request, timeout=self._seconds(timeout), metadata=self._metadata
                )
            )

    async def rerank_partial(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **options: Unpack[Options],
    ) -> AsyncIterator[Ranking]:
        """Yield better and better rankings; see `Client.rerank_partial`."""
        request = to_request(query, documents, options, partial_results=True)
        with _errors(self._where):
            call = self._stub.Rerank(
                request, timeout=self._seconds(timeout), metadata=self._metadata
            )
            try:
                async for response in call:
                    yield to_ranking(response)
            finally:
                call.cancel()

    async def models(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Sequence[Model]:
        """List the models; see `Client.models`."""
        with _errors(self._where):
            request = pb.ListModelsRequest()
            return to_models(
                await self._stub.ListModels(
                    request, timeout=self._seconds(timeout), metadata=self._metadata
                )
            )

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

    async def close(self) -> None:
        """Close the channel."""
        if self._own_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Raise our errors in place of grpc's."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise to_error(error.code(), error.details(), error.trailing_metadata(), where) from None
    except grpc.RpcError as error:
        call = cast("grpc.Call", error)
        raise to_error(call.code(), call.details(), call.trailing_metadata(), where) from None
