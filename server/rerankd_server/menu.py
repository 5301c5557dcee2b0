"""The menu: what requests may name, a scorer for each recipe, and what has to be closed after it.

A leaf is priced and cached under its own identity, and recipes that need the same leaf share it. A
combination is made of other recipes' scorers and computed anew each time: it costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any

from rerankd_server.background import Background
from rerankd_server.caching.cached import Cached
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.refusals import Refusals
from rerankd_server.caching.room import Room
from rerankd_server.config import LEXICAL, Settings, recipe
from rerankd_server.errors import ConfigError
from rerankd_server.off_loop import OffLoop
from rerankd_server.providers import MILLION, Providers
from rerankd_server.reranker import Model
from rerankd_server.scoring.batched import BatchedScorer
from rerankd_server.scoring.blend import Blend
from rerankd_server.scoring.cascade import Cascade
from rerankd_server.scoring.embedder import Embedder
from rerankd_server.scoring.lexical import LexicalScorer, load_frequencies
from rerankd_server.scoring.llm import LLMScorer
from rerankd_server.scoring.mean import Mean
from rerankd_server.scoring.prices import Price, Priced
from rerankd_server.scoring.prior import PriorScorer
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import Leaf, Scorer, T
from rerankd_server.scoring.truncated import Truncated

_FREE = Price(0, 0)


class Menu:
    """All that `settings` offer, the default first. Raises ConfigError where it cannot be had."""

    def __init__(
        self,
        settings: Settings,
        memory: Memory,
        leases: Leases | None = None,
        background: Background | None = None,
        off_loop: OffLoop | None = None,
    ) -> None:
        self.providers = Providers(settings, background)
        self.caches: list[Cached[Any]] = []
        self._settings = settings
        self._catalogue = settings.catalogue
        self._memory = memory
        self._leases = leases
        self._off_loop = off_loop or OffLoop()
        self._rooms: dict[str, Room] = {}
        self._scorers: dict[str, Scorer] = {}
        self._leaves: dict[object, Priced[Any]] = {}
        self.models: Sequence[Model] = list(self._offered())

    def slow_to_load(self) -> Sequence[Awaitable[object]]:
        """Give what takes most of a second to load, and had better be loaded before it is asked."""
        providers = [provider.warm_up() for provider in self.providers]
        asked = {self._settings.default_model, *(p for m in self.models for p in m.parts)}
        is_lexical = any(isinstance(self._catalogue[name], recipe.Lexical) for name in asked)
        return [*providers, asyncio.to_thread(load_frequencies)] if is_lexical else providers

    async def close(self) -> None:
        """Close the providers' connections."""
        await self.providers.close()

    def _offered(self) -> Iterator[Model]:
        """Give the models; the lexical one only where its word list is there, or is needed."""
        for name in self._catalogue:
            try:
                yield self._model(name)
            except ConfigError as error:
                if name != LEXICAL:
                    raise ConfigError(f"recipes.{name}: {error}") from None
                if self._settings.default_model == LEXICAL:
                    raise ConfigError(
                        "no language model and no word list: set OPENAI_API_KEY (or "
                        "OPENAI_BASE_URL for a local server), or pip install "
                        "'rerankd[server,offline]' to rank by shared words"
                    ) from None

    def _model(self, name: str) -> Model:
        made = self._catalogue[name]
        price = self.providers.price(made) if isinstance(made, recipe.ASKING) else None
        return Model(
            name=name,
            description=made.description or made.summary,
            scorer=Truncated(self._scorer(name), self._settings.max_document_chars),
            kind=made.kind,
            parts=made.parts,
            provider=made.provider if isinstance(made, recipe.ASKING) else "",
            provider_model=made.model if isinstance(made, recipe.ASKING) else "",
            prompt_price_usd=None if price is None else price.prompt * MILLION,
            completion_price_usd=None if price is None else price.completion * MILLION,
        )

    def _scorer(self, name: str) -> Scorer:
        if name not in self._scorers:
            self._scorers[name] = self._made(self._catalogue[name])
        return self._scorers[name]

    def _made(self, made: recipe.Recipe) -> Scorer:
        """Make a scorer by its recipe."""
        match made:
            case recipe.Prior():
                return PriorScorer()
            case recipe.Lexical():
                return self._leaf(LexicalScorer(self._off_loop))
            case recipe.Cascade():
                cheap, careful = map(self._scorer, made.parts)
                return Cascade(cheap, careful, made.threshold, made.top_k)
            case recipe.Mean():
                return Mean([self._scorer(part) for part in made.parts], made.weights)
            case recipe.Blend():
                scores, prior = map(self._scorer, made.parts)
                return Blend(scores, prior, made.weight)
            case _:
                return self._asking(made)

    def _asking(self, made: recipe.Pointwise | recipe.Batched | recipe.Embeddings) -> Scorer:
        """Make a scorer that asks a provider's model."""
        model = self.providers.model(made)
        match made:
            case recipe.Pointwise():
                return self._leaf(leaf_of(model, made), made)
            case recipe.Batched():
                passes = [self._leaf(leaf_of(model, made, n), made) for n in range(made.repeats)]
                return passes[0] if len(passes) == 1 else Mean(passes)
            case recipe.Embeddings():
                # numpy takes 0.1 s to load, and few servers need it.
                from rerankd_server.scoring.similarity import Similarity  # noqa: PLC0415

                vectors = self._leaf(Embedder(model, made.documents), made)
                return Similarity(vectors, made.query_prefix, made.document_prefix)

    def _leaf(self, scorer: Leaf[T], made: recipe.Asking | None = None) -> Priced[T]:
        """Give `scorer` with a cache around it: one for all that ask the same provider alike.

        What is stored they share with any whose identity is the same.
        """
        calls = made and (made.provider, isinstance(made, recipe.Embeddings) and made.documents)
        key = (frozenset(scorer.identity.items()), calls)
        if key not in self._leaves:
            # What costs nothing is sooner had anew than waited for: it asks for no lease.
            leases, room = (self._leases, self._room(made.provider)) if made else (None, Room())
            refusals = Refusals(self._settings.refused_ttl)
            cache = Cached(
                scorer, self._memory, room, leases, refusals, self._off_loop, is_free=made is None
            )
            self.caches.append(cache)
            self._leaves[key] = Priced(cache, self.providers.price(made) if made else _FREE)
        return self._leaves[key]

    def _room(self, provider: str) -> Room:
        places = self._settings.all_providers[provider].max_queue
        return self._rooms.setdefault(provider, Room(places))


def leaf_of(
    model: RemoteModel, made: recipe.Pointwise | recipe.Batched, number: int = 0
) -> LLMScorer | BatchedScorer:
    """Return the scorer of a recipe that has `model` choose labels; `number` is the pass."""
    if isinstance(made, recipe.Pointwise):
        return LLMScorer(model, made.max_tokens or None)
    return BatchedScorer(
        model,
        documents=made.documents,
        tokens=made.tokens,
        max_tokens=made.max_tokens or None,
        seed=made.seed,
        number=number,
    )
