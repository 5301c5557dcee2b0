"""Where settings come from: flags, then environment, then a TOML file, then defaults.

The setting `data_dir` is the flag `--data-dir`, the environment variable `RERANKD_DATA_DIR`, and
the TOML key `data_dir`. Where none of these says so, the key and the base URL are read from
`OPENAI_API_KEY` and `OPENAI_BASE_URL`, as everywhere. Of the ways to the key (`api_key`,
`api_key_env`, `api_key_file`) the strongest source's count; of the same source, a place that is
named. Tables (providers, recipes, headers, prices) are in the file only.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rerankd_server.config.provider import check_certificates
from rerankd_server.config.settings import Settings
from rerankd_server.errors import ConfigError

TABLES = {"providers", "recipes", "headers", "prices"}
"""Settings that are neither flags nor variables."""
_PREFIX = "RERANKD_"
_OPENAIS = {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"}
_KEY = {"api_key", "api_key_env", "api_key_file"}
"""Ways to the server's own key."""
_CONFIG_VARIABLE = "RERANKD_CONFIG"


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
    from_flags = ((name, value, f"--{name.replace('_', '-')}") for name, value in flags.items())
    for source in (
        _from_openais_variables(environ),
        _from_file(config),
        _from_environment(environ),
        from_flags,
    ):
        found = list(source)
        if not _KEY.isdisjoint(name for name, _, _ in found):
            for name in _KEY:  # one way to the key replaces all weaker ones
                values.pop(name, None)
        for name, value, origin in found:
            values[name] = value
            origins[name] = origin
    if origins.get("api_key") == _OPENAIS["api_key"] and _is_a_tables(values, _OPENAIS["api_key"]):
        values.pop("api_key", None)
    _check_certificates(environ)
    try:
        return Settings.model_validate(_with_keys(values, environ, origins))
    except ValidationError as error:
        raise ConfigError("\n".join(_complaints(error, origins))) from None


def _check_certificates(environ: Mapping[str, str]) -> None:
    """Raise ConfigError where the file that OpenSSL is told to trust cannot be read."""
    if file := environ.get("SSL_CERT_FILE"):
        try:
            check_certificates(Path(file))
        except ValueError as error:
            raise ConfigError(f"SSL_CERT_FILE: {error}") from None


def _is_a_tables(values: Mapping[str, Any], variable: str) -> bool:
    """Whether a provider's table names `variable` as its key's: then it makes no other provider."""
    providers = values.get("providers")
    tables = providers.values() if isinstance(providers, dict) else ()
    return any(isinstance(each, dict) and each.get("api_key_env") == variable for each in tables)


def _with_keys(
    values: Mapping[str, Any], environ: Mapping[str, str], origins: dict[str, str]
) -> Mapping[str, Any]:
    """Read the keys that settings only say the place of. Raises ConfigError."""
    for place in ("api_key_env", "api_key_file"):
        if values.get(place):
            origins["api_key"] = origins[place]
    with_key: Mapping[str, Any] = _with_key(values, environ, "")
    providers = values.get("providers")
    if not isinstance(providers, dict):
        return with_key
    return {
        **with_key,
        "providers": {
            name: _with_key(table, environ, f"providers.{name}.")
            for name, table in providers.items()
        },
    }


def _with_key(table: Any, environ: Mapping[str, str], place: str) -> Any:
    """Give a provider's `table` with its key. Raises ConfigError where that is not there."""
    if not isinstance(table, dict):
        return table
    variable, file = table.get("api_key_env"), table.get("api_key_file")
    if variable and isinstance(variable, str):
        key = environ.get(variable, "")
        if not key.strip():
            raise ConfigError(f"{place}api_key_env: {variable} is not set; export it, with the key")
        return {**table, "api_key": key}
    if file and isinstance(file, str):
        try:
            key = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{place}api_key_file: {file} cannot be read: {error}") from None
        if not key.strip():
            raise ConfigError(f"{place}api_key_file: {file} is empty; put the key there")
        return {**table, "api_key": key}
    return table


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
    for setting in Settings.model_fields.keys() - TABLES:
        variable = _PREFIX + setting.upper()
        if value := environ.get(variable):
            yield setting, value, variable


def _from_openais_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    for setting, variable in _OPENAIS.items():
        if value := environ.get(variable):
            yield setting, value, variable


def _complaints(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        message = problem["msg"].removeprefix("Value error, ")
        place = [str(step) for step in problem["loc"]]
        if not place:
            yield message
            continue
        if problem["type"] == "extra_forbidden":
            where = "docs/recipes.md" if len(place) > 1 else "`rerankd serve --help`"
            message = f"there is no such setting; {where} lists them"
        if problem["type"] == "union_tag_not_found":
            message = "needs a `kind`, such as pointwise or cascade"
        if place[0] == "recipes":
            del place[2:3]  # the kind, which pydantic puts between the names
        yield f"{'.'.join(place)} ({origins.get(place[0], 'default')}): {message}"
