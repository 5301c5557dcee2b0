"""Everything that can be set about a server.

What is outside any table describes one provider, too: most servers have no other.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

import platformdirs
from pydantic import ByteSize, Field, field_validator, model_validator

from rerankd_server.caching.database import Durability
from rerankd_server.caching.store import SMALLEST_LIMIT
from rerankd_server.config.provider import ProviderSettings
from rerankd_server.config.recipe import (
    ASKING,
    BUILT_IN,
    LEXICAL,
    OWN_PROVIDER,
    Pointwise,
    Recipe,
    complaints,
)
from rerankd_server.logs import LogFormat, LogLevel

_DEFAULT_MODEL = "gpt-4o-mini"
DRAIN = 1.0
"""Seconds; see the setting `drain`."""


FIXED = frozenset(
    {
        "listen",
        "data_dir",
        "workers",
        "log_format",
        "cache_size",
        "memory_size",
        "cache_ttl",
        "durability",
        "max_message_bytes",
        "max_bytes_in_flight",
        "max_calls",
        "message_timeout",
        "idle_timeout",
    }
)
"""Settings that only a restart changes."""


class Settings(ProviderSettings):
    """Everything that can be set about a server. Sizes in bytes, times in seconds."""

    key_by_itself: ClassVar[str] = "OPENAI_API_KEY (or api_key)"

    listen: str = Field(
        "127.0.0.1:50051",
        min_length=1,
        description="address to listen on: host:port (port 0: any free one) or unix:/path",
    )
    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("rerankd"),
        description="folder for stored scores",
    )
    model: str = Field(
        "",
        description=f"default model: a provider's, a recipe, or `{LEXICAL}` (default: "
        f"{_DEFAULT_MODEL}; without key and base URL the first recipe, or {LEXICAL})",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that share the port and the data folder; what all other settings "
        "limit is divided among them",
    )
    log_format: LogFormat = Field("console", description="console or json")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")

    cache_size: ByteSize = Field(
        ByteSize(2 << 30),
        ge=SMALLEST_LIMIT,
        description="most bytes on disk, such as 512MiB; the oldest scores go first",
    )
    memory_size: ByteSize = Field(
        ByteSize(64 << 20),
        description="bytes of memory for scores that were used last, such as 1GiB (0: none)",
    )
    recent_size: ByteSize = Field(
        ByteSize(32 << 20),
        description="bytes of memory for requests that were answered last: one that comes again, "
        "or its documents in another order, is answered faster (0: none)",
    )
    cache_ttl: float | None = Field(
        None, gt=0, description="seconds that a score stays valid (default: for ever)"
    )
    durability: Durability = Field(
        "process",
        description="what a stored score survives: the end of the `process`, however it comes, or "
        "also of the machine (`power`), which is slower",
    )
    refused_ttl: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="seconds for which a document that a model gave no score is not asked about "
        "again (0: it is, each time)",
    )

    max_document_chars: int = Field(
        16_000, ge=1, description="characters of a document that are read; the rest is cut off"
    )
    max_query_chars: int = Field(16_000, ge=1, description="most characters of a query")
    max_documents: int = Field(10_000, ge=1, description="most documents in a request")
    max_message_bytes: ByteSize = Field(
        ByteSize(64 << 20),
        ge=1 << 10,
        le=1 << 29,
        description="most bytes of a request, and of a ranking",
    )
    max_bytes_in_flight: ByteSize = Field(
        ByteSize(256 << 20),
        ge=1 << 20,
        description="most bytes of memory that requests take at once, on arrival and while they "
        "are answered; a request that comes alone is always taken",
    )
    max_calls: int = Field(10_000, ge=1, description="most calls that are taken at once")
    message_timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="seconds in which a request has to arrive as a whole",
    )
    time_limit: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="most seconds that a call takes, also without a deadline",
    )
    deadline_margin: float = Field(
        0.03, ge=0, le=60, description="seconds before its deadline that a call is answered"
    )
    partial_interval: float = Field(
        0.05, ge=0, le=60, description="least seconds between two partial rankings"
    )
    grace: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="seconds that running calls get when the server stops; "
        "then, calls that are already sent to the provider",
    )
    idle_timeout: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="seconds after which a connection without a call is closed; clients connect "
        "anew with their next call",
    )

    drain: float | None = Field(
        None,
        ge=0,
        le=3600,
        description="seconds for which a server that stops says NOT_SERVING and serves on, so that "
        f"clients go elsewhere first (default: {DRAIN:g} where somebody looks at its health, else "
        "0)",
    )

    providers: Mapping[str, ProviderSettings] = Field(
        default_factory=dict, description="further providers, by name"
    )
    recipes: Mapping[str, Recipe] = Field(
        default_factory=dict, description="ways of scoring, by name"
    )

    @field_validator("listen")
    @classmethod
    def _has_a_port(cls, value: str) -> str:
        if not re.fullmatch(r"unix:.+|(\[[^\]]+\]|[^:]+):[0-9]{1,5}", value):
            raise ValueError(f"{value!r} is neither host:port nor unix:/path")
        return value

    @field_validator("data_dir")
    @classmethod
    def _is_a_folder(cls, value: Path) -> Path:
        if value == Path():
            raise ValueError("is empty; give a folder")
        return value.expanduser()

    @property
    def default_model(self) -> str:
        """The model for requests that name none."""
        if self.model:
            return self.model
        if self.is_set:
            return _DEFAULT_MODEL
        return next(iter(self.recipes), LEXICAL)

    @property
    def all_providers(self) -> Mapping[str, ProviderSettings]:
        """Every provider that can be asked, by name."""
        own: Mapping[str, ProviderSettings] = {OWN_PROVIDER: self} if self.is_set else {}
        return {**own, **self.providers}

    @property
    def catalogue(self) -> Mapping[str, Recipe]:
        """All that a request may name: the default, the recipes, allowed models, the built-in."""
        allowed = {
            model: Pointwise(provider=name, model=model)
            for name, provider in self.all_providers.items()
            for model in provider.allow_models
        }
        named: dict[str, Recipe] = {**self.recipes, **allowed, **BUILT_IN}
        default = self.default_model
        return {default: named.get(default, Pointwise(model=default)), **named}

    @model_validator(mode="after")
    def _recipes_can_be_cooked(self) -> Self:
        problems = [*self._wrong_names(), *self._wrong_providers()]
        problems += complaints(self.recipes, self.catalogue)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _wrong_names(self) -> Iterator[str]:
        """Say which names mean two things."""
        if OWN_PROVIDER in self.providers:
            yield (
                f"providers.{OWN_PROVIDER}: that name stands for the provider outside any table; "
                "choose another one"
            )
        for name in self.recipes.keys() & BUILT_IN.keys():
            yield f"recipes.{name}: that name is built in; choose another one"
        allowed = [m for each in self.all_providers.values() for m in set(each.allow_models)]
        for model, count in Counter(allowed).items():
            if count > 1 or model in self.recipes or model in BUILT_IN:
                yield (
                    f"allow_models: {model!r} is allowed twice, or also a recipe; make a recipe "
                    "with a name of its own"
                )
        by_itself = self.is_set and not self.model and _DEFAULT_MODEL not in self.allow_models
        if by_itself and _DEFAULT_MODEL in allowed:
            yield (
                f"model: {_DEFAULT_MODEL!r} is the default of the provider outside any table, and "
                "allowed at another; say which `model` is the default, or take it out there"
            )

    def _wrong_providers(self) -> Iterator[str]:
        """Say which providers are missing, or cannot be asked."""
        known = self.all_providers
        for name, provider in self.providers.items():
            if not provider.is_set:
                yield (
                    f"providers.{name}: needs a key (api_key_env or api_key_file), or a base_url "
                    "(local servers need no key)"
                )
        for name, recipe in self.catalogue.items():
            if not isinstance(recipe, ASKING) or recipe.provider in known:
                continue
            if recipe.provider == OWN_PROVIDER and name not in self.recipes:
                yield (
                    f"model: {name!r} needs a provider: set OPENAI_API_KEY, or "
                    f"OPENAI_BASE_URL for a local server, or use --model {LEXICAL}"
                )
            elif recipe.provider == OWN_PROVIDER:
                yield (
                    f"recipes.{name}: names no provider, and there is none outside the tables: "
                    "set OPENAI_API_KEY or OPENAI_BASE_URL, or give it a `provider`"
                )
            else:
                yield (
                    f"recipes.{name}: there is no provider {recipe.provider!r}; there are "
                    f"{', '.join(known) or 'none'}"
                )
