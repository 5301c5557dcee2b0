"""The clients: one that blocks, and its twin for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict, TypeVar, Unpack, cast

import grpc.aio

import grpc
from rerankd._channel import ADDRESS, Connection, Metadata, Way, way_to
from rerankd._errors import RerankError, to_error
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
_FOR_EVER = 10.0 * 365 * 24 * 3600
"""Seconds. gRPC takes a deadline that is further away for one that is over."""

_Channel = TypeVar("_Channel", grpc.Channel, grpc.aio.Channel)


class _How(TypedDict):
    """How gRPC is to make a call."""

    timeout: float | None
    metadata: Metadata


class _Caller:
    """What both clients know of their calls."""

    _timeout: float | None
    _where: str
    _metadata: Metadata
    _closed = False

    def _how(self, timeout: float | None) -> _How:
        seconds = self._timeout if timeout is None else timeout
        if seconds is not None and seconds > _FOR_EVER:
            seconds = None
        return {"timeout": seconds, "metadata": self._metadata}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise our errors in place of grpc's."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            trailers = error.trailing_metadata()
            raise to_error(error.code(), error.details(), trailers, self._where) from None
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            trailers = call.trailing_metadata()
            raise to_error(call.code(), call.details(), trailers, self._where) from None
        except (asyncio.CancelledError, grpc.aio.UsageError, ValueError):
            # What gRPC raises where its channel is closed; a task that is cancelled is another.
            if not self._closed or _is_cancelled():
                raise
            raise RerankError("the client is closed", grpc.StatusCode.CANCELLED) from None


class Client(_Caller):
    """A client that blocks. Threads may share it; close it, or use it as a context manager.

    `timeout` is each call's deadline in seconds; None waits for ever. `connection` is TLS, token,
    retries and keepalive: see `Connection`. `channel` is one of your own in place of all that, to
    wherever it leads; it stays yours to close. Raises ValueError or TypeError for an address, a
    token or another option that cannot be meant.
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
        self._own_channel = channel is None
        self._channel, self._where, self._metadata = _channel(
            channel, Way.open, address, connection
        )
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
        with self._errors():
            return to_ranking(self._stub.RerankOnce(request, **self._how(timeout)))

    def rerank_partial(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Generator[Ranking]:
        """Yield better and better rankings, each of them whole; the last has `is_final` set.

        Takes and raises the same as `rerank`. Leaving the loop early ends the call, as soon as
        nobody holds what it iterates over; `contextlib.closing` around that ends it at once.
        """
        request = to_request(query, documents, options, partial_results=True)
        with self._errors():
            call = self._stub.Rerank(request, **self._how(timeout))
            try:
                for response in call:
                    yield to_ranking(response)
            finally:
                call.cancel()

    def models(self, *, timeout: float | None = None) -> Sequence[Model]:
        """List the models that a call may name, the default first. Raises RerankError."""
        with self._errors():
            request = pb.ListModelsRequest()
            return to_models(self._stub.ListModels(request, **self._how(timeout)))

    def close(self) -> None:
        """Close the channel. Calls that are under way, and later ones, raise RerankError."""
        self._closed = True
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


class AsyncClient(_Caller):
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
        self._own_channel = channel is None
        self._channel, self._where, self._metadata = _channel(
            channel, Way.open_aio, address, connection
        )
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
        with self._errors():
            return to_ranking(await self._stub.RerankOnce(request, **self._how(timeout)))

    async def rerank_partial(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **options: Unpack[Options],
    ) -> AsyncGenerator[Ranking]:
        """Yield better and better rankings; see `Client.rerank_partial`.

        Here it is `contextlib.aclosing` that ends the call at once.
        """
        request = to_request(query, documents, options, partial_results=True)
        with self._errors():
            call = self._stub.Rerank(request, **self._how(timeout))
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
        with self._errors():
            request = pb.ListModelsRequest()
            return to_models(await self._stub.ListModels(request, **self._how(timeout)))

    async def close(self) -> None:
        """Close the channel. Calls that are under way, and later ones, raise RerankError."""
        self._closed = True
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


def _channel(
    own: _Channel | None, opening: Callable[[Way], _Channel], address: str, connection: Connection
) -> tuple[_Channel, str, Metadata]:
    """Give the channel, where it leads in words, and what is sent along with each call."""
    if own is not None:
        if connection:
            raise TypeError(f"{min(connection)!r} is the channel's to say, where you give one")
        return own, _ELSEWHERE, ()
    way = way_to(address, connection)
    return opening(way), address, way.metadata


def _is_cancelled() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0
