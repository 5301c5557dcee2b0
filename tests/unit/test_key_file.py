"""Keys that come from files are read again when these change, and after a refusal."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from rerankd_server.background import Background
from rerankd_server.scoring.http_client import Endpoint, HttpClient
from rerankd_server.scoring.key_file import KeyFile, clean_key
from support.http import listening


class Guarded:
    """A provider that takes the key `key` alone, in either header."""

    def __init__(self) -> None:
        self.key = "sk-one"
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers.get("X-Key") or request.headers["Authorization"]
        self.asked.append(key.removeprefix("Bearer "))
        return web.json_response({}, status=200 if self.asked[-1] == self.key else 401)


@asynccontextmanager
async def asking(file: Path, header: str = "") -> AsyncGenerator[tuple[Guarded, HttpClient]]:
    guarded, app = Guarded(), web.Application()
    app.router.add_post("/v1/x", guarded.answer)
    async with listening(app) as address:
        endpoint = Endpoint(
            base_url=f"{address}/v1", api_key="sk-one", key_file=file, key_header=header
        )
        client = HttpClient(endpoint, Background())
        try:
            yield guarded, client
        finally:
            await client.close()


@pytest.mark.parametrize("header", ["", "X-Key"])
async def test_a_key_that_changes_is_sent_from_the_next_call_on(
    tmp_path: Path, header: str
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-one\n")
    async with asking(file, header) as (guarded, client):
        assert (await client.post("/x", {})).status == 200
        file.write_text("sk-another\n")
        guarded.key = "sk-another"
        assert (await client.post("/x", {})).status == 200
        assert guarded.asked == ["sk-one", "sk-another"]


@pytest.mark.parametrize("header", ["", "X-Key"])
async def test_after_a_refusal_the_file_is_read_in_any_case(tmp_path: Path, header: str) -> None:
    file = tmp_path / "key"
    file.write_text("sk-one\n")
    before = file.stat()
    async with asking(file, header) as (guarded, client):
        guarded.key = "sk-two"
        assert (await client.post("/x", {})).status == 401, "it holds no other key yet"
        file.write_text("sk-two\n")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as on a coarse clock
        assert (await client.post("/x", {})).status == 200
        assert (await client.post("/x", {})).status == 200
        assert guarded.asked == ["sk-one", "sk-one", "sk-two", "sk-two"]


async def test_without_a_file_a_refusal_is_final(tmp_path: Path) -> None:
    app, guarded = web.Application(), Guarded()
    app.router.add_post("/v1/x", guarded.answer)
    async with listening(app) as address:
        client = HttpClient(Endpoint(base_url=f"{address}/v1", api_key="sk-no"), Background())
        assert (await client.post("/x", {})).status == 401
        assert guarded.asked == ["sk-no"]
        await client.close()


@pytest.mark.parametrize("content", [None, "", "two words", "Bearer sk-x", "sk-ü", b"\xff"])
def test_what_is_no_key_changes_nothing_and_is_not_logged(
    tmp_path: Path, content: str | bytes | None
) -> None:
    path = tmp_path / "key"
    path.write_text("sk-one")
    file = KeyFile(path, "sk-one")
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with capture_logs() as logs:
        assert file.changed() is None
        assert file.changed(for_sure=True) is None
    assert not content or str(content) not in str(logs)
    path.write_text('"sk-two"\n')
    assert file.changed() == "sk-two"
    assert file.changed(for_sure=True) is None


def test_a_key_is_cleaned() -> None:
    assert clean_key(" 'sk-a'\n") == "sk-a"
