"""What the client takes and gives, and how it is said in messages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypedDict

from rerankd.v1 import rerank_pb2 as pb


class CacheMode(Enum):
    """How a call uses the scores that are stored."""

    READ_WRITE = "read_write"
    """Use stored scores, score the misses, store them."""
    ONLY_IF_CACHED = "only_if_cached"
    """Use stored scores, call no model."""
    REFRESH = "refresh"
    """Score everything again, replace what is stored."""
    BYPASS = "bypass"
    """Neither read nor write."""


class ScoreSource(Enum):
    """Where a score came from."""

    CACHE = "cache"
    """Stored earlier."""
    MODEL = "model"
    """This call's own call to the model."""
    SHARED = "shared"
    """A call that another request had in flight."""
    UNKNOWN = "unknown"
    """A source that this client is too old to know."""


class UnscoredReason(Enum):
    """Why a document has no score."""

    PENDING = "pending"
    """Still being scored when this ranking was sent."""
    NOT_CACHED = "not_cached"
    """Only stored scores were asked for, and there was none."""
    REFUSED = "refused"
    """The model declined, or its reply held no score."""
    FAILED = "failed"
    """The provider failed after every attempt."""
    UNKNOWN = "unknown"
    """A reason that this client is too old to know."""


class UnscoredDetail(Enum):
    """What made a model's reply no score."""

    CUT_OFF = "cut_off"
    """The reply was cut off at its token limit."""
    EMPTY_REPLY = "empty_reply"
    """The reply holds no text at all."""
    UNREADABLE = "unreadable"
    """The reply holds no label, or more than one."""
    DECLINED = "declined"
    """The model, or the provider's filter, declined."""
    UNKNOWN = "unknown"
    """A detail that this client is too old to know."""


@dataclass(frozen=True, slots=True)
class Document:
    """One candidate."""

    text: str
    """What the model reads."""
    id: str = ""
    """Your own name for it; comes back with the result."""
    prior_score: float | None = None
    """The first stage's score, on any scale, higher is better; finite."""


@dataclass(frozen=True, slots=True)
class Result:
    """One document's place in a ranking."""

    index: int
    """Its position in the documents of the call, from 0."""
    id: str
    score: float | None
    """Relevance from 0 to 1; None where there is no score, which is not a score of 0."""
    source: ScoreSource | None
    """None where there is no score."""
    unscored_reason: UnscoredReason | None
    """None where there is a score; set where a lesser one stands in for it."""
    document: Document | None
    """Set where the call asked for `return_documents`."""
    unscored_detail: UnscoredDetail | None = None
    """What made the model's reply no score, where it was REFUSED; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used. A document that was sent twice counts as one pair."""

    cached_pairs: int = 0
    scored_pairs: int = 0
    shared_pairs: int = 0
    unscored_pairs: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    """US dollars spent; None where the model's price is not known."""
    saved_usd: float | None = None
    """US dollars that the cached and shared pairs would have cost."""
    saved_prompt_tokens: int = 0
    saved_completion_tokens: int = 0
    """Tokens that the cached and shared pairs took when they were bought."""
    pending_calls: int = 0
    """Of `model_calls`, those that were not answered yet: their cost is not in here."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A whole ranking, best first; iterating over it gives its results."""

    results: Sequence[Result]
    is_final: bool
    model: str
    usage: Usage

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, place: int) -> Result:
        return self.results[place]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a call may name."""

    name: str
    description: str
    is_default: bool
    kind: str = ""
    """How it scores, such as "pointwise", or what it makes of its parts, such as "cascade"."""
    parts: Sequence[str] = ()
    """Names of the models that it combines."""
    provider: str = ""
    """The provider's name; empty where none is asked."""
    provider_model: str = ""
    """The model's name there."""
    prompt_price_usd: float | None = None
    completion_price_usd: float | None = None
    """US dollars for a million tokens; None where not known, or where no model is asked."""


_CACHE_MODES = {
    None: pb.CACHE_MODE_UNSPECIFIED,
    CacheMode.READ_WRITE: pb.CACHE_MODE_READ_WRITE,
    CacheMode.ONLY_IF_CACHED: pb.CACHE_MODE_ONLY_IF_CACHED,
    CacheMode.REFRESH: pb.CACHE_MODE_REFRESH,
    CacheMode.BYPASS: pb.CACHE_MODE_BYPASS,
}
_SOURCES: Mapping[int, ScoreSource | None] = {
    pb.SCORE_SOURCE_UNSPECIFIED: None,
    pb.SCORE_SOURCE_CACHE: ScoreSource.CACHE,
    pb.SCORE_SOURCE_MODEL: ScoreSource.MODEL,
    pb.SCORE_SOURCE_SHARED: ScoreSource.SHARED,
}
_REASONS: Mapping[int, UnscoredReason] = {
    pb.UNSCORED_REASON_PENDING: UnscoredReason.PENDING,
    pb.UNSCORED_REASON_NOT_CACHED: UnscoredReason.NOT_CACHED,
    pb.UNSCORED_REASON_REFUSED: UnscoredReason.REFUSED,
    pb.UNSCORED_REASON_FAILED: UnscoredReason.FAILED,
}
_DETAILS: Mapping[int, UnscoredDetail | None] = {
    pb.UNSCORED_DETAIL_UNSPECIFIED: None,
    pb.UNSCORED_DETAIL_CUT_OFF: UnscoredDetail.CUT_OFF,
    pb.UNSCORED_DETAIL_EMPTY_REPLY: UnscoredDetail.EMPTY_REPLY,
    pb.UNSCORED_DETAIL_UNREADABLE: UnscoredDetail.UNREADABLE,
    pb.UNSCORED_DETAIL_DECLINED: UnscoredDetail.DECLINED,
}


class Options(TypedDict, total=False):
    """What a call may ask for beside query and documents."""

    model: str
    """A name from `models()`; the server's default where it is left out."""
    top_n: int
    """Give only the first so many results; 0, the default, means all."""
    instruction: str
    """What "relevant" means for you, in words for the model."""
    return_documents: bool
    """Give each result its document back."""
    require_complete: bool
    """Fail rather than leave any document without a score."""
    cache_mode: CacheMode
    """How stored scores are used; READ_WRITE by default."""


def to_request(
    query: str, documents: Sequence[str | Document], options: Options, *, partial_results: bool
) -> pb.RerankRequest:
    """Write the request message.

    Raises TypeError for an option that does not exist, and for one text in place of several.
    """
    if isinstance(documents, str):
        raise TypeError("documents is a list of texts, not one text")
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}")
    return pb.RerankRequest(
        query=query,
        documents=[_to_document(document) for document in documents],
        model=options.get("model", ""),
        top_n=options.get("top_n", 0),
        instruction=options.get("instruction", ""),
        return_documents=options.get("return_documents", False),
        partial_results=partial_results,
        require_complete=options.get("require_complete", False),
        cache_mode=_CACHE_MODES[options.get("cache_mode")],
    )


def to_ranking(response: pb.RerankResponse) -> Ranking:
    """Read a ranking message."""
    usage = response.usage
    return Ranking(
        results=[_to_result(result) for result in response.results],
        is_final=response.is_final,
        model=response.model,
        usage=Usage(
            cached_pairs=usage.cached_pairs,
            scored_pairs=usage.scored_pairs,
            shared_pairs=usage.shared_pairs,
            unscored_pairs=usage.unscored_pairs,
            model_calls=usage.model_calls,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=usage.cost_usd if usage.HasField("cost_usd") else None,
            saved_usd=usage.saved_usd if usage.HasField("saved_usd") else None,
            saved_prompt_tokens=usage.saved_prompt_tokens,
            saved_completion_tokens=usage.saved_completion_tokens,
            pending_calls=usage.pending_calls,
        ),
    )


def to_models(response: pb.ListModelsResponse) -> Sequence[Model]:
    """Read the list of models."""
    return [_to_model(model) for model in response.models]


def _to_model(model: pb.Model) -> Model:
    return Model(
        name=model.name,
        description=model.description,
        is_default=model.is_default,
        kind=model.kind,
        parts=tuple(model.parts),
        provider=model.provider,
        provider_model=model.provider_model,
        prompt_price_usd=model.prompt_price_usd if model.HasField("prompt_price_usd") else None,
        completion_price_usd=(
            model.completion_price_usd if model.HasField("completion_price_usd") else None
        ),
    )


def _to_document(document: str | Document) -> pb.Document:
    if isinstance(document, str):
        return pb.Document(text=document)
    return pb.Document(text=document.text, id=document.id, prior_score=document.prior_score)


def _to_result(result: pb.RankedDocument) -> Result:
    scored = result.HasField("relevance_score")
    reason = _REASONS.get(result.unscored_reason, UnscoredReason.UNKNOWN)
    whole = scored and result.unscored_reason == pb.UNSCORED_REASON_UNSPECIFIED
    return Result(
        index=result.index,
        id=result.id,
        score=result.relevance_score if scored else None,
        source=_SOURCES.get(result.source, ScoreSource.UNKNOWN),
        unscored_reason=None if whole else reason,
        document=_from_document(result.document) if result.HasField("document") else None,
        unscored_detail=_DETAILS.get(result.unscored_detail, UnscoredDetail.UNKNOWN),
    )


def _from_document(document: pb.Document) -> Document:
    prior = document.prior_score if document.HasField("prior_score") else None
    return Document(document.text, document.id, prior)
