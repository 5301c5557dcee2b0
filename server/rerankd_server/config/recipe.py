"""Recipes: ways of scoring that a request may name, each a leaf or a combination of others."""

import json
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rerankd_server.config.base import Table
from rerankd_server.scoring.parameters import OURS

LEXICAL, PRIOR = "lexical", "prior"
"""The names of the recipes that need no provider."""
OWN_PROVIDER = "default"
"""The name of the provider that the settings outside any table describe."""


class _Recipe(Table):
    description: str = ""
    """A sentence for people; empty: made up from the rest."""

    @property
    def parts(self) -> Sequence[str]:
        """The names of the recipes that it is made of."""
        return ()

    @property
    def summary(self) -> str:
        """A sentence about it, for where the settings give none."""
        return ""


class Asking(_Recipe):
    """A leaf that asks a provider's model."""

    provider: str = OWN_PROVIDER
    model: str = Field(min_length=1)
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Sent along with every call, such as `reasoning_effort = "low"`."""

    @field_validator("parameters")
    @classmethod
    def _can_be_sent(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if ours := sorted(OURS & value.keys()):
            raise ValueError(f"rerankd sets {', '.join(ours)} itself; leave that out")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("holds what JSON does not: a date, nan or inf") from None
        return value


class Pointwise(Asking):
    """One prompt a document."""

    kind: Literal["pointwise"] = "pointwise"
    max_tokens: int = Field(8, ge=0)
    """Most tokens of an answer: more for models that think before it; 0 sets no limit."""

    @property
    def summary(self) -> str:
        """A sentence about it."""
        return f"{self.model}, asked about each document alone"


class Batched(Asking):
    """Several documents a prompt. A score may depend on the documents it shared a prompt with."""

    kind: Literal["batched"]
    documents: int = Field(10, ge=1, le=50)
    """Most documents in a prompt."""
    tokens: int | None = Field(None, ge=1)
    """Most tokens of documents in a prompt, about; a longer document stands alone."""
    repeats: int = Field(1, ge=1, le=20)
    """How many passes, each in another order, are averaged."""
    seed: int = 0
    """Of the order."""
    max_tokens: int = Field(0, ge=0)
    """Most tokens of an answer; 0: what the labels of so many documents take."""

    @property
    def summary(self) -> str:
        """A sentence about it."""
        passes = f", in {self.repeats} passes" if self.repeats > 1 else ""
        return f"{self.model}, asked about up to {self.documents} documents a prompt{passes}"


class Embeddings(Asking):
    """The similarity of the query's and the document's embeddings, (1 + cosine) / 2."""

    kind: Literal["embeddings"]
    documents: int = Field(64, ge=1, le=256)
    """Most texts in a call."""
    query_prefix: str = ""
    document_prefix: str = ""
    """What the model wants before a text, such as `query: `."""

    @property
    def summary(self) -> str:
        """A sentence about it."""
        return f"how near {self.model} puts the document to the query"


class Prior(_Recipe):
    """The request's `prior_score`, scaled to 0 to 1 within the request."""

    kind: Literal["prior"] = "prior"

    @property
    def summary(self) -> str:
        """A sentence about it."""
        return "the request's own prior_score"


class Lexical(_Recipe):
    """BM25 with word weights from general English."""

    kind: Literal["lexical"] = "lexical"

    @property
    def summary(self) -> str:
        """A sentence about it."""
        return "BM25 with word weights from general English"


class Cascade(_Recipe):
    """A cheap recipe for all documents, and a careful one for those that look promising."""

    kind: Literal["cascade"]
    cheap: str
    careful: str
    threshold: float | None = Field(None, ge=0, le=1)
    """Promising is a cheap score of at least this."""
    top_k: int | None = Field(None, ge=1)
    """Promising are so many with the best cheap scores."""

    @property
    def parts(self) -> Sequence[str]:
        """The cheap one, then the careful one."""
        return (self.cheap, self.careful)

    @model_validator(mode="after")
    def _has_one_gate(self) -> Self:
        if (self.threshold is None) == (self.top_k is None):
            raise ValueError("needs either `threshold` or `top_k`")
        return self

    @property
    def summary(self) -> str:
        """A sentence about it."""
        if self.top_k is None:
            return f"{self.careful}, where {self.cheap} gives {self.threshold:g} or more"
        return f"{self.careful}, for the {self.top_k:,} best by {self.cheap}"


class Mean(_Recipe):
    """The weighted mean of several recipes' scores."""

    kind: Literal["mean"]
    of: tuple[str, ...] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] = ()
    """One for each; all equal where there is none."""

    @property
    def parts(self) -> Sequence[str]:
        """Those that are averaged."""
        return self.of

    @model_validator(mode="after")
    def _has_a_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.of):
            raise ValueError(f"has {len(self.of)} parts and {len(self.weights)} weights")
        return self

    @property
    def summary(self) -> str:
        """A sentence about it."""
        return f"the mean of {', '.join(self.of)}"


class Blend(_Recipe):
    """A recipe's score, moved a little towards another's, which is scaled within the request."""

    kind: Literal["blend"]
    scores: str
    prior: str = PRIOR
    """Embeddings, or whatever else gives a second opinion."""
    weight: float = Field(0.1, ge=0, le=1)
    """The prior's."""

    @property
    def parts(self) -> Sequence[str]:
        """The one that scores, then the prior."""
        return (self.scores, self.prior)

    @property
    def summary(self) -> str:
        """A sentence about it."""
        return f"{self.scores}, moved {self.weight:.0%} towards {self.prior}"


Recipe = Annotated[
    Pointwise | Batched | Embeddings | Prior | Lexical | Cascade | Mean | Blend,
    Field(discriminator="kind"),
]

ASKING = (Pointwise, Batched, Embeddings)
"""Those that ask a provider."""
BUILT_IN: Mapping[str, Recipe] = {LEXICAL: Lexical(), PRIOR: Prior()}
"""Recipes that need no settings."""


def complaints(recipes: Mapping[str, Recipe], known: Mapping[str, Recipe]) -> Iterator[str]:
    """Say what is wrong with how `recipes` name their parts; `known` are all that they may name."""
    for name, recipe in recipes.items():
        for part in recipe.parts:
            if part not in known:
                yield (
                    f"recipes.{name}: there is no recipe or allowed model {part!r}; there are "
                    f"{', '.join(known)} (a provider's model has to be in its `allow_models`, and "
                    "the provider needs a key or a base_url)"
                )
    try:
        TopologicalSorter({name: recipe.parts for name, recipe in known.items()}).prepare()
    except CycleError as error:
        circle = error.args[1]
        yield f"recipes.{circle[0]}: is made of itself: {' -> '.join(reversed(circle))}"
