"""The standard reflection service, by which grpcurl, ghz and their like read the API."""

from collections.abc import Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from rerankd_server.api.intake import Intake


def serve_reflection(services: Sequence[str], intake: Intake) -> None:
    """Describe `services`, full names, and reflection itself."""
    servicer = reflection.aio.ReflectionServicer(
        (*services, reflection.SERVICE_NAME), pool=_Symbols()
    )
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, intake)


class _Symbols:
    """protobuf's descriptor pool, but methods are found by their names, too: ghz asks for these."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> object:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """Give the file that defines `symbol`. Raises KeyError where none does."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file
