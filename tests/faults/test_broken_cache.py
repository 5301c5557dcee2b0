"""A cache that breaks under a running server, and one that is broken when it starts."""

import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from rerankd_server.api.current import SERVICE
from support.process import ServeProcess, serving
from support.provider import FakeProvider
from support.server import NOT_SERVING, SERVING, Stub, ask, health, stub_of

DISK_ONLY = ["--memory-size=0", "--recent-size=0"]


@contextmanager
def full(server: ServeProcess, folder: Path) -> Iterator[None]:
    """No file may grow: what a full disk comes to."""
    sizes = [file.stat().st_size for file in folder.iterdir()]
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (max(sizes), -1))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(server: ServeProcess, folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / "cache.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def deleted(server: ServeProcess, folder: Path) -> Iterator[None]:
    shutil.rmtree(folder)
    yield


@contextmanager
def in_the_way(server: ServeProcess, folder: Path) -> Iterator[None]:
    """The folder is gone, and cannot be made again."""
    shutil.rmtree(folder)
    folder.write_text("in the way")
    yield
    folder.unlink()


@contextmanager
def damaged(server: ServeProcess, folder: Path) -> Iterator[None]:
    file = folder / "cache.db"
    with file.open("r+b") as database:
        database.write(os.urandom(file.stat().st_size))
    yield


async def until_it_stores_again(stub: Stub, address: str) -> None:
    n = 0
    while await health(address, "rerankd.cache") == NOT_SERVING:
        n += 1
        await stub.RerankOnce(ask("later", [f"{n % 11} {n}"]))


@pytest.mark.parametrize("trouble", [full, locked, deleted, in_the_way, damaged])
async def test_a_cache_that_breaks_is_a_miss_and_mends_itself(
    provider: FakeProvider,
    tmp_path: Path,
    trouble: Callable[[ServeProcess, Path], AbstractContextManager[None]],
) -> None:
    folder = tmp_path / "scores-v1"
    async with (
        serving(tmp_path, *DISK_ONLY, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        await stub.RerankOnce(ask("q", ["7 before"]))
        with trouble(server, folder):
            for n in range(5):
                texts = ["7 before", *(f"{m % 11} {n} {m} " + "x" * 999 for m in range(200))]
                response = await stub.RerankOnce(ask("q", texts))
                assert all(result.HasField("relevance_score") for result in response.results)
            for service in ("", SERVICE):
                assert await health(address, service) == SERVING
        await until_it_stores_again(stub, address)
        await stub.RerankOnce(ask("q", ["6 after"]))
        assert (await stub.RerankOnce(ask("q", ["6 after"]))).usage.cached_pairs == 1
        server.send(signal.SIGTERM)
        await server.log("stopped")
        told = [(log["event"], log.get("doing")) for log in server.logs]
        assert len(told) == len(set(told)), "each change is said once"
        failed = {doing for event, doing in told if event == "cache fails"}
        assert failed == {doing for event, doing in told if event == "cache works again"}
        assert failed or trouble is damaged  # SQLite may still know it all
    async with (
        serving(tmp_path, *DISK_ONLY, OPENAI_BASE_URL=provider.base_url) as (_, address),
        stub_of(address) as stub,
    ):
        response = await stub.RerankOnce(ask("q", ["6 after"]))
        assert response.results[0].relevance_score == 0.6
        # What SQLite only knew, and could not read again, is bought anew.
        assert response.usage.cached_pairs == 1 or trouble is damaged


@pytest.mark.parametrize(
    "content", [b"no database" * 1000, b"", b"SQLite format 3\0" + b"\xff" * 9000]
)
async def test_a_cache_that_is_broken_at_the_start_is_no_outage(
    provider: FakeProvider, tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "scores-v1"
    folder.mkdir()
    (folder / "cache.db").write_bytes(content)
    async with (
        serving(tmp_path, *DISK_ONLY, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        assert len(server.logs) == (1 if content == b"" else 2)
        for cached in (0, 1):
            assert (await stub.RerankOnce(ask("q", ["7 a"]))).usage.cached_pairs == cached
