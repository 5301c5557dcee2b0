"""The service that new calls come to: another one once the settings were read again."""

from collections.abc import Awaitable
from typing import Any

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.intake import Intake
from rerankd_server.api.service import RerankService
from rerankd_server.api.status import Context

SERVICE = pb.DESCRIPTOR.services_by_name["RerankService"].full_name


class Current:
    """Hands each call to `service`, with which it stays to its end."""

    def __init__(self, service: RerankService) -> None:
        self.service = service

    def add_to(self, intake: Intake) -> None:
        """Serve it there. The service itself reads requests, and writes answers."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Rerank": grpc.unary_stream_rpc_method_handler(self._rerank),
            "RerankOnce": grpc.unary_unary_rpc_method_handler(self._rerank_once),
            "ListModels": grpc.unary_unary_rpc_method_handler(
                self._list_models,
                pb.ListModelsRequest.FromString,
                pb.ListModelsResponse.SerializeToString,
            ),
        }
        intake.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    def _rerank(self, data: bytes, context: Context) -> Awaitable[None]:
        return self.service.rerank(data, context)

    def _rerank_once(self, data: bytes, context: Context) -> Awaitable[bytes]:
        return self.service.rerank_once(data, context)

    def _list_models(
        self, request: pb.ListModelsRequest, context: Context
    ) -> Awaitable[pb.ListModelsResponse]:
        return self.service.list_models(request, context)
