"""A database that others have locked for a while: what callers saw is stored all the same."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rerankd_server.caching.epoch import Epoch
from support.process import serving
from support.provider import FakeProvider
from support.server import NOT_SERVING, SERVING, ask, health, running, stub_of

ROUNDS = 3


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_what_callers_saw_while_it_was_locked_is_stored(
    provider: FakeProvider, tmp_path: Path, end: signal.Signals
) -> None:
    texts = [[f"{n % 11} {n} {round_}" for n in range(300)] for round_ in range(ROUNDS)]
    async with (
        serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        for asked in texts:
            with closing(sqlite3.connect(tmp_path / "scores-v1" / "cache.db")) as other:
                other.execute("BEGIN IMMEDIATE")
                answer = await stub.RerankOnce(ask("q", asked))
                assert answer.usage.scored_pairs == len(asked)
                assert await health(address, "rerankd.cache") == NOT_SERVING
                again = await stub.RerankOnce(ask("q", asked[:200]))
                assert again.usage.cached_pairs == 200
            if end is signal.SIGKILL:
                told = await server.log("scores that waited are stored")
                assert told["lost"] == 0
                assert told["scores"] >= len(asked) - 1  # the first may still have been in time
                assert await health(address, "rerankd.cache") == SERVING
        server.send(end)
        await server.ended()
    async with (
        serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (_, address),
        stub_of(address) as stub,
    ):
        for asked in texts:
            assert (await stub.RerankOnce(ask("q", asked))).usage.cached_pairs == len(asked)


async def test_what_waits_is_counted(provider: FakeProvider, tmp_path: Path) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        stub_of(app.address) as stub,
    ):
        with closing(sqlite3.connect(tmp_path / "scores-v1" / "cache.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            await stub.RerankOnce(ask("q", ["7 a", "6 b"]))
            assert (app.waiting, app.lost) == (2, 0)
    assert (app.waiting, app.lost) == (0, 0)


async def test_a_server_that_starts_ends_the_epoch(provider: FakeProvider, tmp_path: Path) -> None:
    """One that was killed may have stored something that it told nobody of."""
    epoch = Epoch(tmp_path / "scores-v1")
    async with running(tmp_path, base_url=provider.base_url):
        before = epoch.now
    async with running(tmp_path, base_url=provider.base_url):
        assert epoch.now != before


async def test_a_server_whose_epoch_is_cut_goes_on(provider: FakeProvider, tmp_path: Path) -> None:
    async with (
        serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        for _ in range(3):
            await stub.RerankOnce(ask("q", ["7 a", "6 b"]))
        for name in ("epoch", "cache.db-shm"):
            with (tmp_path / "scores-v1" / name).open("r+b") as file:
                file.truncate(0)
            for texts in (["7 a", "6 b"], [f"5 {name}"]):
                answer = await stub.RerankOnce(ask("q", texts))
                assert all(result.HasField("relevance_score") for result in answer.results)
        assert (await stub.RerankOnce(ask("q", ["7 a", "6 b"]))).usage.cached_pairs == 2
        server.send(signal.SIGTERM)
        assert await server.ended() == 0
