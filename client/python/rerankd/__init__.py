"""Client for rerankd, the caching proxy for LLM reranking.

from rerankd import Client

with Client() as client:
    for result in client.rerank("why is the sky blue?", ["Rayleigh scattering", "a recipe"]):
        print(result.index, result.score)
"""

from rerankd._channel import RETRYING, Connection
from rerankd._client import AsyncClient, Client
from rerankd._errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidRequestError,
    RerankError,
    ResourceExhaustedError,
    UnavailableError,
    UnknownModelError,
    Violation,
)
from rerankd._types import (
    CacheMode,
    Document,
    Model,
    Options,
    Ranking,
    Result,
    ScoreSource,
    UnscoredDetail,
    UnscoredReason,
    Usage,
)

__all__ = [
    "RETRYING",
    "AsyncClient",
    "CacheMode",
    "Client",
    "Connection",
    "DeadlineExceededError",
    "Document",
    "FailedPreconditionError",
    "InvalidRequestError",
    "Model",
    "Options",
    "Ranking",
    "RerankError",
    "ResourceExhaustedError",
    "Result",
    "ScoreSource",
    "UnavailableError",
    "UnknownModelError",
    "UnscoredDetail",
    "UnscoredReason",
    "Usage",
    "Violation",
]
