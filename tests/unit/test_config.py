"""Settings: where they come from, and what is said of wrong ones."""

from pathlib import Path

import pytest

from rerankd_server.config import load_settings
from rerankd_server.errors import ConfigError

KEY = {"OPENAI_API_KEY": "sk-test"}


def complaint(
    flags: dict[str, str], environ: dict[str, str] | None = None, config: Path | None = None
) -> str:
    with pytest.raises(ConfigError) as raised:
        load_settings(flags, environ or {}, config)
    return str(raised.value)


def test_with_nothing_set_the_lexical_model_is_the_default() -> None:
    settings = load_settings({}, {})
    assert (settings.default_model, settings.is_set) == ("lexical", False)
    assert settings.listen == "127.0.0.1:50051"


@pytest.mark.parametrize("environ", [KEY, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}])
def test_with_a_key_or_a_base_url_it_is_a_providers(environ: dict[str, str]) -> None:
    assert load_settings({}, environ).default_model == "gpt-4o-mini"


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    file = tmp_path / "rerankd.toml"
    file.write_text("concurrency = 1\nattempts = 1\ntimeout = 1.5\n")
    settings = load_settings(
        {"concurrency": "3"}, {"RERANKD_CONCURRENCY": "2", "RERANKD_ATTEMPTS": "2"}, file
    )
    assert (settings.concurrency, settings.attempts, settings.timeout) == (3, 2, 1.5)
    assert settings.longest_wait == 60.0


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "rerankd.toml"
    file.write_text("attempts = 7\n")
    assert load_settings({}, {"RERANKD_CONFIG": str(file)}).attempts == 7


def test_our_own_variables_beat_openais() -> None:
    environ = {"RERANKD_BASE_URL": "http://a/v1", "OPENAI_BASE_URL": "http://b/v1"}
    assert load_settings({}, environ).base_url == "http://a/v1"


def test_an_empty_variable_is_not_set() -> None:
    assert not load_settings({}, {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}).is_set


def test_a_key_may_come_with_a_newline_as_mounted_secrets_do() -> None:
    key = load_settings({}, {"OPENAI_API_KEY": "sk-test\n"}).api_key
    assert key is not None
    assert key.get_secret_value() == "sk-test"


def test_a_home_folder_may_be_written_as_a_tilde() -> None:
    assert load_settings({"data_dir": "~/scores"}, {}).data_dir == Path.home() / "scores"


@pytest.mark.parametrize("listen", ["localhost:0", "[::1]:50051", "unix:/run/rerankd.sock"])
def test_addresses(listen: str) -> None:
    assert load_settings({"listen": listen}, {}).listen == listen


def test_sizes_are_written_as_people_write_them() -> None:
    assert load_settings({"cache_size": "512MiB"}, {}).cache_size == 512 << 20
    assert load_settings({"max_reply_bytes": "4MiB"}, {}).max_reply_bytes == 4 << 20
    assert load_settings({}, {}).max_reply_bytes is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("concurrency", "0"),
        ("concurrency", "many"),
        ("attempts", "-1"),
        ("timeout", "0"),
        ("timeout", "nan"),
        ("timeout", "inf"),
        ("longest_wait", "-1"),
        ("max_reply_bytes", "0"),
        ("max_reply_bytes", "100"),
        ("cache_size", "1KiB"),
        ("cache_ttl", "0"),
        ("max_documents", "0"),
        ("max_message_bytes", "9GiB"),
        ("log_format", "xml"),
        ("base_url", "ftp://example.test"),
        ("base_url", "example.test/v1"),
        ("base_url", "http://[::1"),
        ("base_url", "http://"),
        ("listen", ""),
        ("listen", "127.0.0.1"),
        ("listen", "localhost:http"),
        ("data_dir", ""),
        ("api_key", "sk-\u00e9"),
        ("api_key", "sk one"),
    ],
)
def test_a_wrong_value_is_named_with_where_it_came_from(setting: str, value: str) -> None:
    assert complaint({setting: value}).startswith(f"{setting} (--{setting.replace('_', '-')}): ")


def test_each_origin_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rerankd.toml"
    file.write_text("attempts = 99\nconcurency = 1\n")
    lines = complaint({}, {"RERANKD_TIMEOUT": "soon"}, file).splitlines()
    assert lines[0].startswith("timeout (RERANKD_TIMEOUT): ")
    assert lines[1].startswith(f"attempts (`attempts` in {file}): ")
    assert lines[2].startswith(f"concurency (`concurency` in {file}): there is no such setting")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in complaint({}, config=tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("attempts = = 3")
    assert str(broken) in complaint({}, config=broken)


def test_a_providers_model_needs_a_provider() -> None:
    said = complaint({"model": "gpt-4o"})
    assert "OPENAI_API_KEY" in said
    assert "--model lexical" in said


def test_the_key_is_never_shown() -> None:
    said = complaint({"concurrency": "x"}, {"OPENAI_API_KEY": "sk-sentinel-7"})
    assert "sk-sentinel-7" not in said
    assert "sk-sentinel-7" not in repr(load_settings({}, {"OPENAI_API_KEY": "sk-sentinel-7"}))
