"""Where all services take their requests in: none reads a message but through this.

To gRPC every method is one to which messages are streamed, so that it leaves the reading to us. On
the wire that is the same.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

import grpc
from rerankd_server.api.admission import Admission
from rerankd_server.api.arrivals import Arrivals
from rerankd_server.api.compression import Unpacking, is_packed
from rerankd_server.api.status import Context, abort
from rerankd_server.errors import unreadable

Handler = Any
"""grpc's RpcMethodHandler, whose types are those of servers without asyncio."""

LARGE = 1 << 20
"""Bytes of a request, beyond which it is read off the event loop, when there is room for it."""
COPIES = 3
"""Times its size that a request takes in memory: as bytes, as a message and as texts."""
_ALWAYS = "/grpc.health.v1.Health/"
"""What is admitted however many calls are under way."""
OPTIONS = (
    ("grpc.per_message_decompression", 0),
    # gRPC itself would drop calls at random that wait to be taken in.
    ("grpc.server.max_pending_requests", (1 << 31) - 1),
    ("grpc.server.max_pending_requests_hard_limit", (1 << 31) - 1),
)
"""What gRPC's server has to leave to us."""


class Intake:
    """Adds services to `server`, as they would add themselves.

    A request may take at most `largest` bytes when it is unpacked.
    """

    def __init__(
        self, server: grpc.aio.Server, admission: Admission, arrivals: Arrivals, largest: int
    ) -> None:
        self._server = server
        self._admission = admission
        self._arrivals = arrivals
        self._largest = largest

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Serve what `handlers` serve."""
        taken = tuple(_Taken(each, self._taken) for each in handlers)
        self._server.add_generic_rpc_handlers(taken)

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Handler]) -> None:
        """Leave it at that: these are the same methods once more."""

    def _taken(self, method: str, handler: Handler) -> Handler:
        """Return `handler`, with the reading done here."""
        is_always = method.startswith(_ALWAYS)
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        act = self._many(handler) if handler.request_streaming else self._one(handler)
        admission = self._admission

        # Written out, as is what it calls: each context manager takes some microseconds.
        async def taken(_: object, context: Context) -> Any:
            try:
                if is_always:
                    return await act(context)
                admission.begin()
                try:
                    return await act(context)
                finally:
                    admission.end()
            except Exception as error:  # noqa: BLE001  # the status says it
                await abort(context, error)

        return make(taken, None, handler.response_serializer)

    def _one(self, handler: Handler) -> Callable[[Context], Awaitable[Any]]:
        """Return what does a call of one request."""
        answer = handler.unary_stream if handler.response_streaming else handler.unary_unary
        read = handler.request_deserializer or _as_it_is
        arrive, admission = self._arrivals.read, self._admission

        async def one(context: Context) -> Any:
            data = await arrive(context)
            if data is None:
                raise unreadable("is missing; send a message")
            if is_packed(data):
                data = await self._unpacked(data)
            memory = _memory(data)
            admission.take(memory)
            try:
                return await answer(read_message(read, data), context)
            finally:
                admission.give(memory)

        return one

    def _many(self, handler: Handler) -> Callable[[Context], Awaitable[None]]:
        """Return what does a call of many requests, one after the other."""

        async def requests(context: Context) -> AsyncIterator[Any]:
            while (data := await self._arrivals.read(context)) is not None:
                if is_packed(data):
                    data = await self._unpacked(data)
                with self._admission.request(_memory(data)):
                    yield read_message(handler.request_deserializer, data)

        async def many(context: Context) -> None:
            async for reply in handler.stream_stream(requests(context), context):
                await context.write(reply)

        return many

    async def _unpacked(self, data: bytes) -> bytes:
        """Return a compressed message as it was, within the room that there is."""
        unpacking = Unpacking(data, self._largest)
        first = unpacking.first()
        if unpacking.is_over:
            return first
        with self._admission.request(self._largest):
            return await unpacking.all(first)


class _Taken(grpc.GenericRpcHandler):
    """What `inner` serves, as `taken` makes it."""

    def __init__(
        self, inner: grpc.GenericRpcHandler, taken: Callable[[str, Handler], Handler]
    ) -> None:
        self._inner = inner
        self._taken = taken
        self._known: dict[str, Handler] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return what handles a call, or None."""
        method = details.method
        if method not in self._known:
            handler = self._inner.service(details)
            if handler is None:
                return None
            self._known[method] = self._taken(method, handler)
        return self._known[method]


def _memory(data: bytes) -> int:
    """Return the bytes of memory that a request takes; a large one is counted further later."""
    return len(data) if len(data) > LARGE else COPIES * len(data)


def read_message(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """Read a message. Raises InvalidRequestError."""
    try:
        return deserialize(data)
    except DecodeError:
        raise unreadable("is no message of the API's") from None


def _as_it_is(data: bytes) -> bytes:
    return data
