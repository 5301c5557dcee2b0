"""The settings: one frozen object, from flags, then environment, then a TOML file, then defaults.

The setting `data_dir` is the flag `--data-dir`, the environment variable `RERANKD_DATA_DIR`, and
the TOML key `data_dir`. The key and the base URL are also read from `OPENAI_API_KEY` and
`OPENAI_BASE_URL`, as everywhere.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import platformdirs
from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from rerankd_server.caching.store import SMALLEST_LIMIT
from rerankd_server.errors import ConfigError
from rerankd_server.logs import LogFormat, LogLevel

LEXICAL = "lexical"
"""The name of the model that needs no provider."""

_DEFAULT_MODEL = "gpt-4o-mini"
_PREFIX = "RERANKD_"
_ALSO = {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"}
_CONFIG_VARIABLE = "RERANKD_CONFIG"


class Settings(BaseModel):
    """Everything that can be set about a server. Sizes in bytes, times in seconds."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

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
        description=f"default model: a provider's, or `{LEXICAL}` "
        f"(default: {_DEFAULT_MODEL}; without key and base URL {LEXICAL})",
    )
    log_format: LogFormat = Field("console", description="console or json")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")

    api_key: SecretStr | None = Field(None, description="the provider's key")
    base_url: str | None = Field(
        None,
        description="an OpenAI-compatible endpoint (default: OpenAI's own)",
    )
    provider_name: str = Field(
        "",
        description="what the endpoint is called in cache keys (default: its base URL); "
        "keep the name when the endpoint moves, and its scores stay",
    )
    timeout: float = Field(30.0, gt=0, le=3600, description="seconds for one call to the provider")
    attempts: int = Field(
        3,
        ge=1,
        le=10,
        description="most calls for one pair, beside those that teach what its model takes",
    )
    longest_wait: float = Field(
        60.0, ge=0, le=3600, description="seconds: a longer Retry-After is handed to the caller"
    )
    concurrency: int = Field(
        32, ge=1, le=10_000, description="most calls to the provider in flight"
    )
    requests_per_minute: int | None = Field(
        None, gt=0, description="most calls to the provider in any minute (default: what it says)"
    )
    tokens_per_minute: int | None = Field(
        None, gt=0, description="most tokens in any minute, about (default: what it says)"
    )
    max_queue: int = Field(
        20_000, ge=1, description="most pairs that wait to be sent; above that, calls are refused"
    )

    cache_size: ByteSize = Field(
        ByteSize(2 << 30),
        ge=SMALLEST_LIMIT,
        description="most bytes on disk, such as 512MiB; the oldest scores go first",
    )
    cache_ttl: float | None = Field(
        None, gt=0, description="seconds that a score stays valid (default: for ever)"
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

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value().strip() if value else ""  # mounted secrets end in a newline
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("holds characters that no key has")
        return SecretStr(key) if key else None

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            HttpUrl(value)
        return value

    @property
    def has_provider(self) -> bool:
        """Whether there is a provider to ask: a key, or a base URL (local servers need no key)."""
        return self.api_key is not None or self.base_url is not None

    @property
    def default_model(self) -> str:
        """The model for requests that name none."""
        return self.model or (_DEFAULT_MODEL if self.has_provider else LEXICAL)

    @model_validator(mode="after")
    def _provider_where_needed(self) -> Self:
        if self.default_model != LEXICAL and not self.has_provider:
            raise ValueError(
                f"model: {self.default_model!r} needs a provider: set OPENAI_API_KEY, or "
                f"OPENAI_BASE_URL for a local server, or use --model {LEXICAL}"
            )
        return self


def load_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None
) -> Settings:
    """Read and check all settings; `flags` hold those that were given, by setting.

    `config` is a TOML file; where it is None, RERANKD_CONFIG may name one. Raises ConfigError,
    which names each wrong setting and where it came from.
    """
    if config is None and (named := environ.get(_CONFIG_VARIABLE)):
        config = Path(named)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting, value, origin in (
        *_from_file(config),
        *_from_environment(environ),
        *((name, value, f"--{name.replace('_', '-')}") for name, value in flags.items()),
    ):
        values[setting] = value
        origins[setting] = origin
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_complaints(error, origins))) from None


def _from_file(path: Path | None) -> Iterator[tuple[str, Any, str]]:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"config: {path} cannot be read: {error}") from None
    for setting, value in values.items():
        yield setting, value, f"`{setting}` in {path}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    """Read a variable for each setting; an empty one counts as not set."""
    for setting in Settings.model_fields:
        for variable in (_PREFIX + setting.upper(), _ALSO.get(setting, "")):
            if value := environ.get(variable):
                yield setting, value, variable
                break


def _complaints(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield message
            continue
        setting = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            message = "there is no such setting; `rerankd serve --help` lists them"
        yield f"{setting} ({origins.get(setting, 'default')}): {message}"
