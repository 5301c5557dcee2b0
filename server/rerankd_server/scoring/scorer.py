"""The Scorer protocol: what every way of scoring takes and gives.

A scorer is asked about some candidates for one query and yields outcomes as they become known.
Scorers compose: a cache is a scorer around a scorer, and so is anything that combines others.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Generic, NamedTuple, Protocol, overload

from typing_extensions import TypeVar

from rerankd_server.errors import ProviderError

LABELS = range(11)
"""The labels that a model chooses from; a score is a label, or an expected label, over 10."""

Identity = Mapping[str, str]
"""Everything about a scorer that can change a score, by name. It is part of every cache key."""


class CacheMode(Enum):
    """How a request uses the scores that are stored."""

    READ_WRITE = "read_write"
    ONLY_IF_CACHED = "only_if_cached"
    REFRESH = "refresh"
    BYPASS = "bypass"

    @property
    def reads(self) -> bool:
        """Whether stored scores are used."""
        return self in (CacheMode.READ_WRITE, CacheMode.ONLY_IF_CACHED)

    @property
    def writes(self) -> bool:
        """Whether new scores are stored."""
        return self in (CacheMode.READ_WRITE, CacheMode.REFRESH)


class Source(Enum):
    """Where scores came from."""

    CACHE = "cache"
    MODEL = "model"
    SHARED = "shared"


class Reason(Enum):
    """Why a candidate has no score."""

    PENDING = "pending"
    NOT_CACHED = "not_cached"
    REFUSED = "refused"
    FAILED = "failed"


class Detail(Enum):
    """What made a model's reply no score, where the reason is REFUSED."""

    CUT_OFF = "cut_off"
    """It ended at its limit of tokens."""
    EMPTY_REPLY = "empty_reply"
    """It holds no text."""
    UNREADABLE = "unreadable"
    """It holds no label, or more than one."""
    DECLINED = "declined"
    """The model, or a filter of the provider's, did not want to."""


@dataclass(slots=True)
class CallsSent:
    """How many calls a request has sent so far, those without an answer yet among them."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked about every candidate."""

    query: str
    instruction: str = ""
    """What "relevant" means, in words for a model."""
    cache_mode: CacheMode = CacheMode.READ_WRITE
    caller: object = field(default_factory=object, compare=False)
    """Stands for the request that asks, which may ask several scorers."""
    ages: list[int] = field(default_factory=list, compare=False)
    """When each pair that a cache had was scored, Unix seconds: caches fill it in."""
    sent: CallsSent = field(default_factory=CallsSent, compare=False)
    """Whoever sends a call counts it here, in that moment."""


def _always() -> bool:
    return True


class Candidate(NamedTuple):
    """One document to be scored."""

    text: str
    prior: float | None = None
    """The first stage's score, on any scale, higher is better."""
    wanted: Callable[[], bool] = _always
    """Whether somebody still waits for this candidate's score. Asked before something is spent on
    it, or again between two attempts; where it says False, the scorer drops the candidate and
    yields nothing for it."""
    claim: Callable[[], bool] = _always
    """Asked right before something is spent on this candidate, and once it says True, it has to be.
    Where it says False, the scorer drops the candidate in the same way."""


class Documents(Sequence[Candidate]):
    """A request's documents, by column: most are looked up by their texts and never candidates."""

    def __init__(
        self, texts: Sequence[str], priors: Callable[[], Mapping[int, float]] = dict
    ) -> None:
        self.texts = texts
        self._priors = priors
        """Gives those of the documents that have one, by position."""
        self.keys: dict[bytes, Sequence[bytes]] = {}
        """Where caches note the keys of these documents' pairs, by their query's."""

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(place, slice):
            return [self[n] for n in range(len(self))[place]]
        position = range(len(self))[place]
        return Candidate(self.texts[position], self._priors_by_position.get(position))

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _priors_by_position(self) -> Mapping[int, float]:
        return self._priors()

    @property
    def characters(self) -> int:
        """How many characters (code points) they have together."""
        return sum(map(len, self.texts))

    def cut(self, limit: int) -> "Documents":
        """Give them with at most the first `limit` characters (code points) of each."""
        if max(map(len, self.texts), default=0) <= limit:
            return self
        return Documents([text[:limit] for text in self.texts], self._priors)

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> "Documents":
        """Give the same by column, as they came: with nobody to claim them, or to leave them."""
        if isinstance(candidates, cls):
            return candidates
        priors = {n: prior for n, (_, prior, *_) in enumerate(candidates) if prior is not None}
        return cls([candidate.text for candidate in candidates], lambda: priors)


@dataclass(slots=True)  # never changed, but `frozen` would take three times as long to make
class Score:
    """One pair's score, as it is used."""

    value: float
    """Relevance from 0 to 1, a multiple of 0.000001 (`rounded`)."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    scored_at: int = 0
    """Unix time in seconds."""


@dataclass(slots=True)
class Judgement(Score):
    """One pair's score as it was given, with the evidence that it rests on, which is stored too."""

    labels: Sequence[float] = ()
    """The probability of each of LABELS, as far as the model told; empty where it told nothing."""
    model: str = ""
    """The model that the provider says answered."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One text's embedding, which stands where other scorers give a score."""

    data: bytes
    """float32, little-endian, of length 1."""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    scored_at: int = 0


Finding = Score | Vector
"""What is found out about a candidate, and stored."""

T = TypeVar("T", bound=Finding, default=Score)
T_co = TypeVar("T_co", bound=Finding, default=Score, covariant=True)


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why one pair has no score."""

    reason: Reason
    error: ProviderError | None = None
    """What went wrong, where the reason is FAILED."""
    detail: Detail | None = None
    """What was wrong with the reply, where the reason is REFUSED and a model was asked."""
    max_tokens: int | None = None
    """The limit at which the reply was cut off, where the detail is CUT_OFF."""
    was_asked: bool = True
    """Whether a model was asked about this very pair; else it goes by what became of others."""


PENDING = Unscored(Reason.PENDING)


@dataclass(frozen=True, slots=True)
class Usage:
    """What some scores took. Pairs are distinct (query, document) pairs; values add up."""

    cached_pairs: int = 0
    scored_pairs: int = 0
    shared_pairs: int = 0
    unscored_pairs: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    saved_prompt_tokens: int = 0
    saved_completion_tokens: int = 0
    """What cached and shared pairs took when they were bought."""
    cost_usd: float | None = 0.0
    saved_usd: float | None = 0.0
    """US dollars; None where a price is not known, and so in every sum with it."""
    pending_calls: int = 0
    """Of the model calls, those that are not answered yet."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.cached_pairs + other.cached_pairs,
            self.scored_pairs + other.scored_pairs,
            self.shared_pairs + other.shared_pairs,
            self.unscored_pairs + other.unscored_pairs,
            self.model_calls + other.model_calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.saved_prompt_tokens + other.saved_prompt_tokens,
            self.saved_completion_tokens + other.saved_completion_tokens,
            _sum(self.cost_usd, other.cost_usd),
            _sum(self.saved_usd, other.saved_usd),
            self.pending_calls + other.pending_calls,
        )

    def priced(self, cost_usd: float | None, saved_usd: float | None) -> "Usage":
        """Give the same at these prices."""
        return Usage(
            self.cached_pairs,
            self.scored_pairs,
            self.shared_pairs,
            self.unscored_pairs,
            self.model_calls,
            self.prompt_tokens,
            self.completion_tokens,
            self.saved_prompt_tokens,
            self.saved_completion_tokens,
            cost_usd,
            saved_usd,
            self.pending_calls,
        )

    @classmethod
    def had(cls, source: Source, found: Collection[Finding]) -> "Usage":
        """Give the usage of `found`, which nobody had to buy now."""
        prompt = completion = 0
        for each in found:
            prompt += each.prompt_tokens
            completion += each.completion_tokens
        return cls(
            cached_pairs=len(found) if source is Source.CACHE else 0,
            shared_pairs=len(found) if source is Source.SHARED else 0,
            saved_prompt_tokens=prompt,
            saved_completion_tokens=completion,
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class Progress(Generic[T_co]):
    """Outcomes that became known together. Keys are positions in the candidates that were asked."""

    found: Mapping[int, T_co] = field(default_factory=dict)
    unscored: Mapping[int, Unscored] = field(default_factory=dict)
    source: Source = Source.MODEL
    """Where `found` came from."""
    usage: Usage = NOTHING_USED
    interim: Mapping[int, T_co] = field(default_factory=dict)
    """Scores, from the cache or a cheaper model, that stand in until the outcome is known, and for
    good where there is none."""


class Recalled(NamedTuple, Generic[T_co]):
    """What was found at once, by position."""

    found: Sequence[T_co]
    """Equal pairs have one finding, and others have findings of their own."""
    pairs: Sequence[bytes]
    """What stands for each pair: equal exactly where the pairs are."""


class Scorer(Protocol[T_co]):
    """Something that scores candidates for a query."""

    def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress[T_co]]:
        """Yield each candidate's outcome once, in any order, as soon as it is known.

        A candidate's score depends on `ask` and that candidate alone, unless the scorer's own
        documentation says otherwise. What a provider does wrong is an outcome, not an exception.
        The iterator is an async generator: closing it tells the scorer that nobody listens.
        """
        raise NotImplementedError

    def recall(self, ask: Ask, candidates: Sequence[Candidate]) -> Recalled[T_co] | None:  # noqa: ARG002
        """Give at once what `score` would find, where all is in memory, or else None.

        A shorter way to the same, which no scorer has to have.
        """
        return None

    def had(self, found: Collection[Finding]) -> Usage:
        """Give the usage of findings of different pairs, which were recalled."""
        return Usage.had(Source.CACHE, found)


class Leaf(Scorer[T_co], Protocol[T_co]):
    """A scorer that is made of no other, and whose findings are stored."""

    @property
    def identity(self) -> Identity:
        """Everything about this scorer that can change a score; constant for its life."""
        raise NotImplementedError


_SMALL = tuple(range(1 << 14))
_latest = 0


def shared(number: int) -> int:
    """Give the one object that all share for a small number, or for the same as the last large one.

    So a million scores have their tokens, and their seconds, for little: an int takes 32 bytes.
    """
    global _latest  # noqa: PLW0603
    if number < len(_SMALL):
        return _SMALL[number]
    latest = _latest
    if latest == number:
        return latest
    _latest = number
    return number


def rounded(value: float) -> float:
    """Give `value`, 0 to 1, in steps of a millionth: far below any model's noise, exact in 4 bytes.

    Raises ValueError outside 0 to 1.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"a score is from 0 to 1, not {value}")
    return round(value, 6)
