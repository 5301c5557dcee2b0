"""Base URLs as people paste them: made right, or refused with what to write instead."""

import pytest

from rerankd_server.config import load_settings
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.base_url import is_loopback, path_and_query, shown


def loaded(base_url: str) -> str | None:
    return load_settings({"base_url": base_url}, {}).base_url


@pytest.mark.parametrize(
    ("pasted", "used"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/"),
        ("HTTP://LOCALHOST/v1", "HTTP://LOCALHOST/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        (" https://host/v1\n", "https://host/v1"),
        ('"https://host/v1"', "https://host/v1"),
        ("' https://host/v1 '", "https://host/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        ("https://host/v1/chat/completions/", "https://host/v1"),
        ("https://host/v1/embeddings", "https://host/v1"),
        ("https://host/d/m?api-version=1", "https://host/d/m?api-version=1"),
        ("https://host/d/m/chat/completions?api-version=1", "https://host/d/m?api-version=1"),
        ("https://host/v1?", "https://host/v1"),
    ],
)
def test_what_is_clear_is_made_right(pasted: str, used: str) -> None:
    assert loaded(pasted) == used


@pytest.mark.parametrize(
    ("pasted", "advice"),
    [
        ("http:/host/v1", "write http://host/v1"),
        ("https:host/v1", "write https://host/v1"),
        ("localhost:11434/v1", "write http://localhost:11434/v1"),
        ("host/v1", "write http://host/v1"),
        ("ftp://host/v1", "write http:// or https://"),
        ("https://me:s3cret@host/v1", "write https://host/v1"),
        ("https://s3cret@host:1/v1", "write https://host:1/v1"),
        ("https://host:99999/v1", "from 1 to 65535"),
        ("https://host:x/v1", "from 1 to 65535"),
        ("https:///v1", "write https://host/v1"),
        ("https://ho st/v1", "write https://host/v1"),
        ("https://host/v1#key", "leave out"),
        ("''", "is empty"),
    ],
)
def test_what_is_not_is_refused_with_what_to_write(pasted: str, advice: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(pasted)
    assert "base_url" in str(raised.value)
    assert advice in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_query_is_kept_apart_and_never_shown() -> None:
    url = "https://host/d/m?api-version=1&code=s3cret"
    assert path_and_query(url) == ("https://host/d/m", {"api-version": "1", "code": "s3cret"})
    assert shown(url) == "https://host/d/m"


@pytest.mark.parametrize(
    ("key", "used"), [('"sk-1"', "sk-1"), ("'sk-1'", "sk-1"), (" sk-1\n", "sk-1"), ("sk-1", "sk-1")]
)
def test_quotes_around_a_key_are_not_of_it(key: str, used: str) -> None:
    settings = load_settings({}, {"OPENAI_API_KEY": key})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == used


def test_a_key_with_its_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="give the key alone") as raised:
        load_settings({}, {"OPENAI_API_KEY": "Bearer sk-1"})
    assert "sk-1" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_what_is_on_this_machine(host: str, here: bool) -> None:
    assert is_loopback(host) is here
