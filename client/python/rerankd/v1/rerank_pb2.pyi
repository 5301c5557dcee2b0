from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_MODE_UNSPECIFIED: _ClassVar[CacheMode]
    CACHE_MODE_READ_WRITE: _ClassVar[CacheMode]
    CACHE_MODE_ONLY_IF_CACHED: _ClassVar[CacheMode]
    CACHE_MODE_REFRESH: _ClassVar[CacheMode]
    CACHE_MODE_BYPASS: _ClassVar[CacheMode]

class ScoreSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_SOURCE_UNSPECIFIED: _ClassVar[ScoreSource]
    SCORE_SOURCE_CACHE: _ClassVar[ScoreSource]
    SCORE_SOURCE_MODEL: _ClassVar[ScoreSource]
    SCORE_SOURCE_SHARED: _ClassVar[ScoreSource]

class UnscoredReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSCORED_REASON_UNSPECIFIED: _ClassVar[UnscoredReason]
    UNSCORED_REASON_PENDING: _ClassVar[UnscoredReason]
    UNSCORED_REASON_NOT_CACHED: _ClassVar[UnscoredReason]
    UNSCORED_REASON_REFUSED: _ClassVar[UnscoredReason]
    UNSCORED_REASON_FAILED: _ClassVar[UnscoredReason]

class UnscoredDetail(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSCORED_DETAIL_UNSPECIFIED: _ClassVar[UnscoredDetail]
    UNSCORED_DETAIL_CUT_OFF: _ClassVar[UnscoredDetail]
    UNSCORED_DETAIL_EMPTY_REPLY: _ClassVar[UnscoredDetail]
    UNSCORED_DETAIL_UNREADABLE: _ClassVar[UnscoredDetail]
    UNSCORED_DETAIL_DECLINED: _ClassVar[UnscoredDetail]
CACHE_MODE_UNSPECIFIED: CacheMode
CACHE_MODE_READ_WRITE: CacheMode
CACHE_MODE_ONLY_IF_CACHED: CacheMode
CACHE_MODE_REFRESH: CacheMode
CACHE_MODE_BYPASS: CacheMode
SCORE_SOURCE_UNSPECIFIED: ScoreSource
SCORE_SOURCE_CACHE: ScoreSource
SCORE_SOURCE_MODEL: ScoreSource
SCORE_SOURCE_SHARED: ScoreSource
UNSCORED_REASON_UNSPECIFIED: UnscoredReason
UNSCORED_REASON_PENDING: UnscoredReason
UNSCORED_REASON_NOT_CACHED: UnscoredReason
UNSCORED_REASON_REFUSED: UnscoredReason
UNSCORED_REASON_FAILED: UnscoredReason
UNSCORED_DETAIL_UNSPECIFIED: UnscoredDetail
UNSCORED_DETAIL_CUT_OFF: UnscoredDetail
UNSCORED_DETAIL_EMPTY_REPLY: UnscoredDetail
UNSCORED_DETAIL_UNREADABLE: UnscoredDetail
UNSCORED_DETAIL_DECLINED: UnscoredDetail

class RerankRequest(_message.Message):
    __slots__ = ("query", "documents", "model", "top_n", "instruction", "return_documents", "partial_results", "require_complete", "cache_mode")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOP_N_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    RETURN_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    CACHE_MODE_FIELD_NUMBER: _ClassVar[int]
    query: str
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    model: str
    top_n: int
    instruction: str
    return_documents: bool
    partial_results: bool
    require_complete: bool
    cache_mode: CacheMode
    def __init__(self, query: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., model: _Optional[str] = ..., top_n: _Optional[int] = ..., instruction: _Optional[str] = ..., return_documents: bool = ..., partial_results: bool = ..., require_complete: bool = ..., cache_mode: _Optional[_Union[CacheMode, str]] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("text", "id", "prior_score")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PRIOR_SCORE_FIELD_NUMBER: _ClassVar[int]
    text: str
    id: str
    prior_score: float
    def __init__(self, text: _Optional[str] = ..., id: _Optional[str] = ..., prior_score: _Optional[float] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("results", "is_final", "model", "usage")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RankedDocument]
    is_final: bool
    model: str
    usage: Usage
    def __init__(self, results: _Optional[_Iterable[_Union[RankedDocument, _Mapping]]] = ..., is_final: bool = ..., model: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class RankedDocument(_message.Message):
    __slots__ = ("index", "id", "relevance_score", "source", "unscored_reason", "document", "unscored_detail")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RELEVANCE_SCORE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UNSCORED_REASON_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    UNSCORED_DETAIL_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    relevance_score: float
    source: ScoreSource
    unscored_reason: UnscoredReason
    document: Document
    unscored_detail: UnscoredDetail
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., relevance_score: _Optional[float] = ..., source: _Optional[_Union[ScoreSource, str]] = ..., unscored_reason: _Optional[_Union[UnscoredReason, str]] = ..., document: _Optional[_Union[Document, _Mapping]] = ..., unscored_detail: _Optional[_Union[UnscoredDetail, str]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("cached_pairs", "scored_pairs", "shared_pairs", "unscored_pairs", "model_calls", "prompt_tokens", "completion_tokens", "cost_usd", "saved_usd", "saved_prompt_tokens", "saved_completion_tokens", "pending_calls")
    CACHED_PAIRS_FIELD_NUMBER: _ClassVar[int]
    SCORED_PAIRS_FIELD_NUMBER: _ClassVar[int]
    SHARED_PAIRS_FIELD_NUMBER: _ClassVar[int]
    UNSCORED_PAIRS_FIELD_NUMBER: _ClassVar[int]
    MODEL_CALLS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    SAVED_USD_FIELD_NUMBER: _ClassVar[int]
    SAVED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAVED_COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PENDING_CALLS_FIELD_NUMBER: _ClassVar[int]
    cached_pairs: int
    scored_pairs: int
    shared_pairs: int
    unscored_pairs: int
    model_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    saved_usd: float
    saved_prompt_tokens: int
    saved_completion_tokens: int
    pending_calls: int
    def __init__(self, cached_pairs: _Optional[int] = ..., scored_pairs: _Optional[int] = ..., shared_pairs: _Optional[int] = ..., unscored_pairs: _Optional[int] = ..., model_calls: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., saved_usd: _Optional[float] = ..., saved_prompt_tokens: _Optional[int] = ..., saved_completion_tokens: _Optional[int] = ..., pending_calls: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "description", "is_default", "kind", "parts", "provider", "provider_model", "prompt_price_usd", "completion_price_usd")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_PRICE_USD_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_PRICE_USD_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    is_default: bool
    kind: str
    parts: _containers.RepeatedScalarFieldContainer[str]
    provider: str
    provider_model: str
    prompt_price_usd: float
    completion_price_usd: float
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., is_default: bool = ..., kind: _Optional[str] = ..., parts: _Optional[_Iterable[str]] = ..., provider: _Optional[str] = ..., provider_model: _Optional[str] = ..., prompt_price_usd: _Optional[float] = ..., completion_price_usd: _Optional[float] = ...) -> None: ...
