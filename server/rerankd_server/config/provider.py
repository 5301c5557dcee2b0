"""A provider's settings: where it is, its key, and how much it is asked."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import ByteSize, Field, HttpUrl, SecretStr, field_validator

from rerankd_server.config.base import Table
from rerankd_server.scoring.base_url import clean_base_url
from rerankd_server.scoring.key_file import clean_key

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_certificates(path: Path) -> None:
    """Raise ValueError where `path` is no file of certificates in PEM."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl's own errors are of that kind
        raise ValueError(f"{path} holds no certificates in PEM: {error}") from None


class PriceSettings(Table):
    """What a model costs, in US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(0.0, ge=0)


class ProviderSettings(Table):
    """One OpenAI-compatible endpoint. Times in seconds."""

    key_by_itself: ClassVar[str] = "its api_key"
    """What a key is called that no place was named for."""

    base_url: str | None = Field(
        None,
        description="an OpenAI-compatible endpoint (default: OpenAI's own)",
    )
    api_key: SecretStr | None = Field(None, description="the provider's key")
    api_key_env: str = Field("", description="environment variable that holds the provider's key")
    api_key_file: Path | None = Field(None, description="file that holds the provider's key")
    key_header: str = Field(
        "",
        description="header that carries the key as it is, such as Azure's api-key "
        "(default: Authorization, as a bearer token)",
    )
    ca_file: Path | None = Field(
        None,
        description="certificates in PEM that are trusted instead of the system's, for a "
        "provider with one of your own",
    )
    provider_name: str = Field(
        "",
        description="what the endpoint is called in cache keys (default: its base URL); "
        "keep the name when the endpoint moves, and its scores stay",
    )
    allow_models: tuple[str, ...] = Field(
        (), description="models that requests may name beside the default: gpt-4o,gpt-4.1"
    )
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="sent with every call"
    )
    prices: Mapping[str, PriceSettings] = Field(
        default_factory=dict, description="by model, where they are not what the price list says"
    )
    timeout: float = Field(30.0, gt=0, le=3600, description="seconds for one call to the provider")
    attempts: int = Field(
        3,
        ge=1,
        le=10,
        description="most attempts at one call, beside those that teach what its model takes",
    )
    max_reply_bytes: ByteSize | None = Field(
        None,
        ge=1024,
        description="most bytes of a reply, unpacked; a larger one is refused "
        "(default: several times what the call can need)",
    )
    longest_wait: float = Field(
        60.0, ge=0, le=3600, description="seconds: a longer Retry-After is handed to the caller"
    )
    concurrency: int = Field(
        32, ge=1, le=10_000, description="most calls to one model of the provider in flight"
    )
    requests_per_minute: int | None = Field(
        None, gt=0, description="most calls to one model in any minute (default: what it says)"
    )
    tokens_per_minute: int | None = Field(
        None, gt=0, description="most tokens of one model in any minute, about (default: same)"
    )
    max_queue: int = Field(
        20_000,
        ge=1,
        description="most pairs of several calls that wait to be sent; above, calls are refused",
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = clean_base_url(value)
        HttpUrl(url)
        return url

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        path = value.expanduser()
        check_certificates(path)
        return path

    @field_validator("key_header")
    @classmethod
    def _is_a_header(cls, value: str) -> str:
        if value and not _HEADER.fullmatch(value):
            raise ValueError(f"{value!r} is not the name of a header")
        return value

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = clean_key(value.get_secret_value()) if value else ""
        return SecretStr(key) if key else None

    @field_validator("allow_models", mode="before")
    @classmethod
    def _is_a_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name for part in value.split(",") if (name := part.strip()))
        return value

    @field_validator("allow_models")
    @classmethod
    def _has_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.strip() for name in value):
            raise ValueError("holds an empty name; take it out")
        return value

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, secret in value.items():
            text = secret.get_secret_value()
            if not _HEADER.fullmatch(name) or not text.isascii() or not text.isprintable():
                raise ValueError(f"{name!r} is not a header that can be sent")
        return value

    @property
    def key_from(self) -> str:
        """Where the key is from, for messages."""
        return self.api_key_env or str(self.api_key_file or self.key_by_itself)

    @property
    def is_set(self) -> bool:
        """Whether it can be asked: there is a key, or a base URL (local servers need no key)."""
        return self.api_key is not None or self.base_url is not None
