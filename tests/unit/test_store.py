"""The store: what is committed stays, what is broken or planted reads as a miss."""

import asyncio
import itertools
import os
import pickle
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from rerankd_server.caching import database as database_module
from rerankd_server.caching import store as store_module
from rerankd_server.caching.envelope import seal
from rerankd_server.caching.haste import Haste
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.errors import ConfigError
from rerankd_server.scoring.scorer import Judgement, Score

SCORE = Score(0.7, prompt_tokens=3, completion_tokens=1, scored_at=9)


def key(n: int) -> bytes:
    return n.to_bytes(32, "big")


@asynccontextmanager
async def opened(
    folder: Path,
    size_limit: int = SMALLEST_LIMIT,
    ttl: float | None = None,
    clock: Callable[[], float] = time.time,
    haste: Haste | None = None,
) -> AsyncGenerator[Store]:
    store = Store(folder, size_limit, ttl, clock, haste)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "scores-v1" / "cache.db")


async def test_what_is_written_is_read_also_after_a_restart(tmp_path: Path) -> None:
    scores = {key(n): Score(n / 10) for n in range(11)}
    async with opened(tmp_path) as store:
        assert await store.count() == 0
        await store.write(scores)
        assert await store.read([key(0), key(99), key(10)]) == {key(0): Score(0), key(10): Score(1)}
    async with opened(tmp_path) as store:
        assert await store.count() == 11
        assert await store.read(list(scores)) == scores


async def test_few_are_read_at_once(tmp_path: Path) -> None:
    many = {key(n): SCORE for n in range(300)}
    store = Store(tmp_path, SMALLEST_LIMIT)
    assert store.read_at_once([key(1)]) is None
    await store.open()
    await store.write(many)
    assert store.read_at_once([key(7), key(700)]) == {key(7): SCORE}
    assert store.read_at_once(list(many)) is None
    await store.close()
    assert store.read_at_once([key(7)]) is None


async def test_nobody_waits_for_a_slow_disk_twice(tmp_path: Path) -> None:
    ticks = itertools.count()
    haste = Haste(now=lambda: next(ticks), ran=lambda: 0.0)  # each look at the clock is a second
    async with opened(tmp_path, haste=haste) as store:
        await store.write({key(1): SCORE}, {key(1): 0})
        assert store.read_at_once([key(1)]) == {key(1): SCORE}
        assert store.read_at_once([key(1)]) is None
        assert await store.read([key(1)]) == {key(1): SCORE}
        assert next(n for n in range(1000) if store.read_at_once([key(1)])) > 90


async def test_a_read_at_once_that_fails_is_left_to_the_thread(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
        with closing(database(tmp_path)) as planted:
            planted.execute("DROP TABLE Cache")
        with capture_logs() as logs:
            assert store.read_at_once([key(1)]) is None
            assert not logs
            assert await store.read([key(1)]) == {}
        assert [log["doing"] for log in logs if log["log_level"] == "warning"][:1] == ["read"]


async def test_a_read_at_once_tells_that_reading_works_again(tmp_path: Path) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError("no disk")

    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
        with capture_logs() as logs:
            vars(store)["_read"] = fail
            assert await store.read([key(1)]) == {}
            assert store.read_at_once([key(1)]) is None
            del vars(store)["_read"]
            assert store.read_at_once([key(1)]) == {key(1): SCORE}
    assert [(log["event"], log["doing"]) for log in logs] == [
        ("cache fails", "read"),
        ("cache works again", "read"),
    ]


async def test_only_a_later_fresh_score_replaces_one_that_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.write({key(1): Score(0.1)}) == {key(1): Score(0.1)}
        early, late = await store.hand_out(), await store.hand_out()
        assert await store.write({key(1): Score(0.2)}) == {key(1): Score(0.1)}
        for value, since, kept in ((0.3, late, 0.3), (0.4, early, 0.3), (0.5, late, 0.3)):
            epoch = store.epoch.now
            outcome = await store.write({key(1): Score(value)}, {key(1): since}, is_refresh=True)
            assert outcome == await store.read([key(1)]) == {key(1): Score(kept)}
            assert (store.epoch.now != epoch) is (value == kept)
        assert await store.count() == 1


async def test_where_no_revision_can_be_handed_out_a_later_one_still_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, opened(tmp_path) as other:
        before = await other.hand_out()
        with closing(database(tmp_path)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            between = await store.hand_out()
            lock.execute("ROLLBACK")
        after = await other.hand_out()
        assert before < between < after
        for value, since in ((0.1, before), (0.2, between), (0.3, after)):
            await store.write({key(1): Score(value)}, {key(1): since}, is_refresh=True)
            assert await other.read([key(1)]) == {key(1): Score(value)}


async def test_what_was_sent_before_a_purge_is_not_stored_after_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, opened(tmp_path) as other:
        before = other.standing().revision
        assert await store.purge() == 0
        for is_refresh in (False, True):
            outcome = await other.write({key(1): SCORE}, {key(1): before}, is_refresh=is_refresh)
            assert outcome == {key(1): None}
            assert await other.read([key(1)]) == {}
        assert await other.write({key(1): SCORE}) == {key(1): SCORE}
        assert await store.read([key(1)]) == {key(1): SCORE}


async def test_after_a_purge_scores_are_stored_also_where_the_disk_was_slow(
    tmp_path: Path,
) -> None:
    ticks = itertools.count()
    haste = Haste(now=lambda: next(ticks), ran=lambda: 0.0)  # each look at the clock is a second
    async with opened(tmp_path, haste=haste) as store, opened(tmp_path) as other:
        await store.write({key(1): SCORE})
        while store.read_at_once([key(1)]):
            pass
        assert await other.purge() == 1
        assert await store.write({key(2): SCORE}) == {key(2): SCORE}
        assert await other.read([key(2)]) == {key(2): SCORE}


async def test_a_plain_score_replaces_what_is_damaged_or_too_old(tmp_path: Path) -> None:
    async with opened(tmp_path, ttl=60, clock=lambda: 1000.0) as store:
        await store.write({key(1): Score(0.1, scored_at=900), key(2): Score(0.2, scored_at=1000)})
        with closing(database(tmp_path)) as db, db:
            db.execute("UPDATE Cache SET value = x'00' WHERE key = ?", (key(2),))
        epoch = store.epoch.now
        new = {key(n): Score(0.9, scored_at=1000) for n in (1, 2)}
        assert await store.write(new) == new == await store.read([key(1), key(2)])
        assert store.epoch.now != epoch, "another may have in memory what was damaged"


async def test_a_planted_revision_keeps_nothing_from_being_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(1): Score(0.1)})
        with closing(database(tmp_path)) as db, db:
            db.execute("UPDATE Cache SET access_count = 1 << 60")
        since = {key(1): await store.hand_out()}
        await store.write({key(1): Score(0.2)}, since, is_refresh=True)
        assert await store.read([key(1)]) == {key(1): Score(0.2)}
        with closing(database(tmp_path)) as db, db:
            db.execute("UPDATE Revision SET last = 'x', purged = 1 << 62")
        since = {key(1): await store.hand_out()}
        assert await store.write({key(2): SCORE}, {key(2): 0}) == {key(2): SCORE}


async def test_a_large_write_takes_several_transactions(tmp_path: Path) -> None:
    scores = {key(n): Score(0.5) for n in range(2500)}
    async with opened(tmp_path) as store:
        await store.write(scores)
        assert await store.count() == 2500


async def test_an_old_score_is_a_miss_also_where_the_limit_came_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(1): Score(0.5, scored_at=1000)})
    for now, ttl, hit in ((1060, 60, True), (1061, 60, False), (9999, None, True)):
        async with opened(tmp_path, ttl=ttl, clock=lambda now=now: now) as store:  # type: ignore[misc]
            assert bool(await store.read([key(1)])) is hit


async def test_only_this_user_may_look_inside(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    async with opened(folder) as store:
        await store.write({key(1): SCORE})
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


async def test_a_folder_that_was_open_to_all_is_closed(tmp_path: Path) -> None:
    (tmp_path / "scores-v1").mkdir(mode=0o777)
    (tmp_path / "scores-v1").chmod(0o777)
    before = tmp_path.stat().st_mode
    async with opened(tmp_path) as store:
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert tmp_path.stat().st_mode == before  # the folder around it is not ours to change


async def until_all_is_stored(store: Store) -> None:
    while store.waiting:  # noqa: ASYNC110  # its number is all that there is to look at
        await asyncio.sleep(0)


LITTLE = 12 << 20
"""Room for some 16,000 scores beside the write-ahead log."""


def some_scores(count: int) -> dict[bytes, Judgement]:
    return {os.urandom(32): Judgement(0.5, model="m" * 60) for _ in range(count)}


async def test_the_size_limit_holds(tmp_path: Path) -> None:
    most = 0
    async with opened(tmp_path, LITTLE) as store:
        for _ in range(40):
            await store.write(some_scores(1000))
            most = max(most, sum(file.stat().st_size for file in store.folder.iterdir()))
        kept = await store.count()
    assert most <= LITTLE
    assert 8_000 < kept < 40_000


async def test_the_oldest_scores_go_first(tmp_path: Path) -> None:
    async with opened(tmp_path, LITTLE) as store:
        batches = [some_scores(1000) for _ in range(40)]
        for batch in batches:
            await store.write(batch)
        assert await store.read(list(batches[0])) == {}
        assert await store.read(list(batches[-1])) == dict.fromkeys(batches[-1], Score(0.5))


async def test_what_is_stored_later_goes_later_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, LITTLE) as store:
        batches = [some_scores(1000) for _ in range(40)]
        for n, batch in enumerate(batches):
            monkeypatch.setattr(time, "time", lambda n=n: 1e9 - n)  # it goes back all the time
            await store.write(batch)
        assert await store.read(list(batches[0])) == {}
        assert await store.read(list(batches[-1])) == dict.fromkeys(batches[-1], Score(0.5))


class Planted:
    """Pickled, it runs code where it is unpickled: it makes a file."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.evidence), "w"))


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4, 5, None, "4"])
@pytest.mark.parametrize("in_file", [False, True])
async def test_a_planted_row_runs_no_code_and_reads_as_a_miss(
    tmp_path: Path, mode: object, in_file: bool
) -> None:
    evidence = tmp_path / "code-ran"
    payload = pickle.dumps(Planted(evidence))
    async with opened(tmp_path) as store:
        await store.write({key(n): SCORE for n in range(3)})
    (tmp_path / "scores-v1" / "planted.val").write_bytes(payload)
    with closing(database(tmp_path)) as db, db:
        db.execute(
            "UPDATE Cache SET mode = ?, filename = ?, value = ? WHERE key = ?",
            (
                mode,
                "planted.val" if in_file else None,
                None if in_file else payload,
                key(1),
            ),
        )
        db.execute(
            "INSERT INTO Cache (key, raw, mode, value, store_time) VALUES (?, 0, 4, ?, 0)",
            (payload, payload),
        )
    async with opened(tmp_path) as store:
        found = await store.read([key(n) for n in range(3)])
        assert found == {key(0): SCORE, key(2): SCORE}
        await store.write({key(1): SCORE})  # replaces the row, and what it names
        assert await store.read([key(1)]) == {key(1): SCORE}
    assert not evidence.exists()


async def test_a_planted_row_deletes_no_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
    with closing(database(tmp_path)) as db, db:
        db.execute("UPDATE Cache SET filename = '../../precious', expire_time = 1")
    async with opened(tmp_path) as store:
        await store.write({key(2): SCORE})  # throws the expired row out
        assert await store.count() == 1
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize("value", [b"", b"\0", 7, 0.5, "text", None])
async def test_a_value_that_is_no_envelope_reads_as_a_miss(tmp_path: Path, value: object) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(n): SCORE for n in range(2)})
    with closing(database(tmp_path)) as db, db:
        db.execute("UPDATE Cache SET value = ? WHERE key = ?", (value, key(1)))
    async with opened(tmp_path) as store:
        assert await store.read([key(0), key(1)]) == {key(0): SCORE}


async def test_cut_and_flipped_values_read_as_misses(tmp_path: Path) -> None:
    data = seal(key(1), SCORE)
    async with opened(tmp_path) as store:
        await store.write({key(n): SCORE for n in range(1, 5)})
    with closing(database(tmp_path)) as db, db:
        db.execute("UPDATE Cache SET value = ? WHERE key = ?", (data[:-1], key(1)))
        flipped = bytes([*seal(key(2), SCORE)[:6], 0xFF, *seal(key(2), SCORE)[7:]])
        db.execute("UPDATE Cache SET value = ? WHERE key = ?", (flipped, key(2)))
        db.execute("UPDATE Cache SET value = ? WHERE key = ?", (seal(key(4), SCORE), key(3)))
    async with opened(tmp_path) as store:
        assert await store.read([key(n) for n in range(1, 5)]) == {key(4): SCORE}


async def test_settings_in_the_folder_are_not_obeyed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
    with closing(database(tmp_path)) as db, db:
        db.execute("UPDATE Settings SET value = 'none' WHERE key = 'eviction_policy'")
        db.execute("UPDATE Settings SET value = 1 WHERE key = 'size_limit'")
        db.execute("UPDATE Settings SET value = 'many' WHERE key = 'size'")
        db.execute("INSERT INTO Settings VALUES ('disk_fetch', 1), ('get', 1), (7, 7)")
    async with opened(tmp_path) as store:
        await store.write({key(2): SCORE})
        assert await store.count() == 2
        assert (await store.read([key(1)])).keys() == {key(1)}
    with closing(database(tmp_path)) as db:
        settings = dict(db.execute("SELECT key, value FROM Settings"))
    assert settings["eviction_policy"] == "least-recently-stored"
    assert not {"disk_fetch", "get", 7} & settings.keys()


async def test_a_database_that_is_locked_at_the_start_is_a_miss_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LOCK_WAIT", 0.01)
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
    with closing(database(tmp_path)) as other, capture_logs() as logs:
        other.execute("BEGIN EXCLUSIVE")
        async with opened(tmp_path) as store:
            for _ in range(5):
                assert await store.read([key(1)]) == {}
                await store.write({key(2): SCORE})
            assert [(log["event"], log["doing"]) for log in logs] == [("cache fails", "open")]
            assert "locked" in logs[0]["error"]
            other.execute("ROLLBACK")
            monkeypatch.setattr(store, "_no_opening_until", 0.0)
            assert await store.read([key(1)]) == {key(1): SCORE}
            assert logs[1]["event"] == "cache works again"


async def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"data_dir: .*file.*give another folder"):
        await Store(tmp_path / "file", SMALLEST_LIMIT).open()


@pytest.mark.parametrize(
    "statements", [None, "CREATE TABLE Cache (a)", "CREATE TABLE Settings (a)"]
)
async def test_a_database_that_is_not_ours_is_put_aside(
    tmp_path: Path, statements: str | None
) -> None:
    (tmp_path / "scores-v1").mkdir()
    file = tmp_path / "scores-v1" / "cache.db"
    if statements is None:
        file.write_bytes(b"not a database at all " * 500)
    else:
        with closing(database(tmp_path)) as db, db:
            db.executescript(statements)
    before = file.read_bytes()
    with capture_logs() as logs:
        async with opened(tmp_path) as store:
            await store.write({key(1): SCORE})
            assert await store.read([key(1)]) == {key(1): SCORE}
    assert [log["event"] for log in logs] == ["cache is damaged: a new one is begun"]
    kept = Path(logs[0]["kept"])
    if statements is None:
        assert kept.read_bytes() == before
    async with opened(tmp_path) as store:
        assert await store.read([key(1)]) == {key(1): SCORE}


async def test_a_database_that_is_damaged_while_it_is_used_is_begun_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(n): SCORE for n in range(2000)})
    file = tmp_path / "scores-v1" / "cache.db"
    pages = file.stat().st_size // 4096
    with file.open("r+b") as database:
        for page in range(1, pages):
            database.seek(page * 4096)
            database.write(os.urandom(4096))
    with capture_logs() as logs:
        async with opened(tmp_path) as store:
            assert await store.read([key(n) for n in range(2000)]) == {}
            await store.write({key(1): SCORE})
            assert await store.read([key(1)]) == {key(1): SCORE}
    assert "cache is damaged: a new one is begun" in [log["event"] for log in logs]


async def test_a_database_with_a_damaged_page_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_REST", 0.0)
    async with opened(tmp_path) as store:
        await store.write({key(n): SCORE for n in range(3000)})
    file = tmp_path / "scores-v1" / "cache.db"
    with file.open("r+b") as database:  # the schema, on the first pages, stays whole
        database.seek(12 * 4096)
        database.write(os.urandom(file.stat().st_size - 12 * 4096))
    async with opened(tmp_path) as store:
        for _ in range(3):
            await store.read([key(n) for n in range(3000)])
            await store.write({key(1): SCORE})
        assert await store.read([key(1)]) == {key(1): SCORE}
        assert (store.folder / "damaged-cache.db").exists()


async def test_a_healthy_database_that_another_process_began_is_not_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores-v1").mkdir()
    (tmp_path / "scores-v1" / "cache.db").write_bytes(b"not a database at all " * 500)
    slow = Store(tmp_path, SMALLEST_LIMIT)
    open_, asked = slow._open, []

    def other_first() -> object:
        asked.append(1)
        if len(asked) == 1:
            asyncio.run(begin_another())
            raise sqlite3.DatabaseError("file is not a database")
        return open_()

    async def begin_another() -> None:
        async with opened(tmp_path) as other:
            await other.write({key(1): SCORE})

    monkeypatch.setattr(slow, "_open", other_first)
    monkeypatch.setattr(database_module, "codes", lambda _: {sqlite3.SQLITE_NOTADB})
    await slow.open()
    assert await slow.read([key(1)]) == {key(1): SCORE}
    await slow.close()


async def test_who_leaves_while_the_store_opens_leaves_no_false_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_REST", 0.0)
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
    with closing(database(tmp_path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with opened(tmp_path) as store:
            leaver = asyncio.create_task(store.read([key(1)]))
            await asyncio.sleep(0.01)  # it waits for the lock now
            leaver.cancel()
            await asyncio.gather(leaver, return_exceptions=True)
            other.execute("ROLLBACK")
            heard: list[bool] = []
            assert await store.read([key(1)]) == {key(1): SCORE}
            store.condition.watch(lambda _, works: heard.append(works))
            assert heard == [True]


async def test_what_a_locked_store_cannot_take_waits_and_it_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LOCK_WAIT", 0.01)
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
        with closing(database(tmp_path)) as other, capture_logs() as logs:
            other.execute("BEGIN EXCLUSIVE")
            for n in range(2, 9):
                await store.write({key(n): SCORE})
                assert await store.read([key(1)]) == {key(1): SCORE}  # readers wait for no lock
                assert await store.read([key(n)]) == {key(n): SCORE}  # though it waits
            assert store.waiting == 7
            assert [(log["event"], log["doing"]) for log in logs] == [("cache fails", "write")]
            other.execute("ROLLBACK")
            await until_all_is_stored(store)
            assert await store.count() == 8
            assert store.lost == 0
            assert [log["event"] for log in logs] == [
                *("cache fails", "cache works again", "scores that waited are stored")
            ]


async def test_what_waits_is_stored_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LOCK_WAIT", 0.01)
    async with opened(tmp_path) as store:
        with closing(database(tmp_path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await store.write({key(n): SCORE for n in range(1000)})
            assert store.waiting == 1000
    async with opened(tmp_path) as store:
        assert await store.count() == 1000


@pytest.mark.parametrize(
    ("pragma", "back", "words"),
    [
        ("max_page_count = 1", "max_page_count = 1000000", "full"),
        ("query_only = 1", "query_only = 0", "readonly"),
    ],
)
async def test_a_full_or_read_only_store_still_reads_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, back: str, words: str
) -> None:
    monkeypatch.setattr(store_module, "_REST", 0.0)
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})

        async def set_up(what: str) -> None:
            opened = store._database
            assert opened
            await store._in(store._writer, lambda: opened._sql(f"PRAGMA {what}").fetchall())

        await set_up(pragma)
        with capture_logs() as logs:
            for _ in range(3):
                await store.write(some_scores(200))
                assert await store.read([key(1)]) == {key(1): SCORE}
            assert [(log["event"], log["doing"]) for log in logs] == [("cache fails", "write")]
            assert words in logs[0]["error"]
            await set_up(back)
            await store.write({key(2): SCORE})
            assert await store.read([key(2)]) == {key(2): SCORE}


async def test_a_store_that_lost_its_table_is_a_miss_and_makes_it_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
        with closing(database(tmp_path)) as other, capture_logs() as logs:
            other.execute("DROP TABLE Cache")
            assert await store.read([key(1)]) == {}
            assert [(log["event"], log["doing"]) for log in logs] == [("cache fails", "read")]
            await store.write({key(2): SCORE})
            assert await store.read([key(1), key(2)]) == {key(2): SCORE}


async def test_a_folder_that_is_deleted_while_it_is_used_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_REST", 0.0)
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
        shutil.rmtree(store.folder)
        with capture_logs() as logs:
            await store.write({key(2): SCORE})
            await store.read([key(1), key(3)])
            await store.write({key(4): SCORE})
            await until_all_is_stored(store)
        assert [log["event"] for log in logs] == [
            *("cache fails", "cache works again", "scores that waited are stored")
        ]
    async with opened(tmp_path) as store:
        assert await store.read([key(2), key(4)]) == {key(2): SCORE, key(4): SCORE}


async def test_its_condition_is_told_to_who_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_REST", 0.0)
    heard: list[tuple[str, bool]] = []
    async with opened(tmp_path) as store:
        store.condition.watch(lambda name, works: heard.append((name, works)))
        shutil.rmtree(store.folder)
        for n in range(2):
            await store.write({key(n): SCORE})
    assert heard == [("cache", True), ("cache", False), ("cache", True)]


def of_query(query: int, count: int) -> dict[bytes, Score]:
    """Scores of one query's pairs."""
    return {query.to_bytes(16, "big") + os.urandom(16): Score(0.5) for _ in range(count)}


@pytest.mark.parametrize("wanted", [1, 8, 9, 300, 1100])
async def test_what_is_wanted_is_found_among_few_and_among_many(
    tmp_path: Path, wanted: int
) -> None:
    async with opened(tmp_path) as store:
        queries = [of_query(query, count) for query, count in ((1, 5), (2, 1200), (3, 5))]
        for query in queries:
            await store.write(query)
        asked = list(queries[1])[:wanted]
        missing = list(of_query(2, 10))
        found = await store.read([*missing, *asked])
        assert found == dict.fromkeys(asked, Score(0.5))
        mixed = [*queries[0], *asked, *queries[2]]
        assert await store.read(mixed) == dict.fromkeys(mixed, Score(0.5))


async def test_a_store_is_read_while_it_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write({key(1): SCORE})
        begun, go_on = threading.Event(), threading.Event()

        def slow() -> None:
            begun.set()
            go_on.wait()

        writing = asyncio.ensure_future(store._in(store._writer, slow))
        await asyncio.to_thread(begun.wait)
        assert await store.read([key(1)]) == {key(1): SCORE}
        go_on.set()
        await writing


async def test_scores_of_a_newer_version_are_told_of_and_left_alone(tmp_path: Path) -> None:
    for name in ("scores-v1", "scores-v", "scores-vx"):
        (tmp_path / name).mkdir()
    with capture_logs() as logs:
        async with opened(tmp_path):
            assert logs == []
        (tmp_path / "scores-v2").mkdir()
        async with opened(tmp_path) as store:
            await store.write({key(1): SCORE})
    assert [log["event"] for log in logs] == [
        "a newer rerankd has stored scores here, which this one cannot read"
    ]
    assert not list((tmp_path / "scores-v2").iterdir())


async def test_a_purge_takes_all_and_a_store_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_MOST_DELETED", 100)
    async with opened(tmp_path) as store, opened(tmp_path) as other:
        await store.write(some_scores(250))
        epoch = other.epoch.now
        assert await store.purge() == 250
        assert await store.count() == await other.count() == 0
        assert other.epoch.now != epoch
        await other.write({key(1): SCORE})
        assert await store.read([key(1)]) == {key(1): SCORE}
        assert await store.purge() == 1
        assert await store.purge() == 0
