"""Where a redirect leads, as a message may say it."""

import pytest

from rerankd_server.scoring.redirects import quotes, target


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://api.example.com/v1/chat/completions", "api.example.com"),
        ("http://API.Example.com:8443/v1?key=sk-sentinel", "api.example.com"),
        ("//other.example/v1", "other.example"),
        ("https://sk-sentinel:secret@api.example.com/", "api.example.com"),
        ("http://127.0.0.2:8000/", "127.0.0.2"),
        ("http://[::1]:8000/", "::1"),
        ("http://localhost/", "localhost"),
        (f"http://{'a.' * 126}a/", "a." * 126 + "a"),
        # no host, or none that may be shown
        ("/v1/chat/completions", ""),
        ("", ""),
        ("file:///etc/passwd", ""),
        ("ftp://api.example.com/", ""),
        ("javascript:alert(1)", ""),
        ("http://a private text/", ""),
        ("http://a_private_text/", ""),
        ("http://a%20private%20text/", ""),
        ("http://größe.example/", ""),
        ("http://[fe80::1%25a-private-text]/", ""),
        ("http://[fe80::1%a-private-text]/", ""),
        ("http://[a private text]/", ""),
        ("http://-a.example/", ""),
        (f"http://{'a' * 64}.example/", ""),
        (f"http://{'a.' * 127}a/", ""),
        ("http://a.example:port/", "a.example"),
        ("http://a.example\r\nX-More: 1/", ""),
        ("http://a\tprivate\ttext/", ""),
    ],
)
def test_the_host_alone_is_named(location: str, host: str) -> None:
    assert target({"location": location}) == host


def test_without_a_location_there_is_no_redirect() -> None:
    assert target({}) is None


@pytest.mark.parametrize(
    ("host", "sent", "is_quoted"),
    [
        ("api.example.com", "Bees and flowers", False),
        ("bees.example.com", "Bees and flowers", True),
        ("all-about-flowers.net", "Bees and flowers", True),
        ("besandflow.net", "Bees and flowers", False),
        ("beesandflowers.net", "Bees and flowers", True),
        ("sk-sentinel-0123.net", "sk-Sentinel-0123", True),
        ("a.b.net", "a b", False),  # three letters are nobody's secret
        ("127.0.0.2", "127.0.0.2", False),
    ],
)
def test_a_host_out_of_the_call_is_told(host: str, sent: str, is_quoted: bool) -> None:
    assert quotes(host, sent) is is_quoted
