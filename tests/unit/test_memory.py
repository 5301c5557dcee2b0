"""What is kept in memory, in front of a real store."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import pytest

from rerankd_server.caching.memory import Memory
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.scoring.scorer import Documents, Finding, Judgement, Score, Vector

ROOM = 64 << 10


def keys(count: int, start: int = 0) -> list[bytes]:
    return [n.to_bytes(32, "big") for n in range(start, start + count)]


def score(value: float, at: int = 1000) -> Judgement:
    return Judgement(value, 10, 1, at, (0.0, 1.0), "m")


def slim(value: float, at: int = 1000) -> Score:
    return Score(value, 10, 1, at)


class Now:
    """A clock that somebody sets."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
async def store(tmp_path: Path, clock: Now) -> AsyncGenerator[Store]:
    store = Store(tmp_path, SMALLEST_LIMIT, 60.0, clock)
    await store.open()
    yield store
    await store.close()


def forget(store: Store) -> None:
    """Have the store find nothing from now on, so that what is found is from memory."""

    async def nothing(asked: Sequence[bytes]) -> Mapping[bytes, Finding]:
        return {}

    vars(store)["read"] = nothing
    vars(store)["read_at_once"] = lambda _: {}


async def values(memory: Memory, *asked: bytes) -> list[float | None]:
    found = await memory.read(asked)
    return [each.value if isinstance(each := found.get(key), Score) else None for key in asked]


def recalled(memory: Memory, *asked: bytes) -> Sequence[Finding] | None:
    """What `memory` recalls of documents that have these keys."""
    documents = Documents([key.hex() for key in asked])
    documents.keys[b"q"] = asked
    return memory.recall(documents, b"q")


async def test_what_was_written_is_read_without_the_store(store: Store) -> None:
    memory = Memory(store, ROOM)
    one, two = keys(2)
    await memory.write({one: score(0.1)})
    assert await values(Memory(store, ROOM), one, two) == [0.1, None]
    forget(store)
    assert await values(memory, one, two) == [0.1, None]


async def test_what_was_read_is_kept(store: Store) -> None:
    (one,) = keys(1)
    await store.write({one: score(0.1)})
    memory = Memory(store, ROOM)
    await memory.read([one])
    forget(store)
    assert await values(memory, one) == [0.1]


async def test_nothing_is_kept_in_no_room(store: Store) -> None:
    memory = Memory(store, 0)
    (one,) = keys(1)
    await memory.write({one: score(0.1)})
    assert await values(memory, one) == [0.1]
    forget(store)
    assert await values(memory, one) == [None]


async def test_a_score_that_is_too_old_is_a_miss(store: Store, clock: Now) -> None:
    memory = Memory(store, ROOM)
    (one,) = keys(1)
    await memory.write({one: score(0.1)})
    clock.time = 1061.0
    assert await values(memory, one) == [None]
    await memory.write({one: score(0.2, 1061)})
    assert await values(memory, one) == [0.2]


async def test_what_is_used_stays_and_what_is_not_goes(store: Store) -> None:
    memory = Memory(store, ROOM)
    used, unused, *others = keys(1000)
    await memory.write({used: score(0.1), unused: score(0.2)})
    for other in others:
        await memory.write({other: score(0.3)})
        await memory.read([used])
    forget(store)
    assert await values(memory, used, unused, others[-1]) == [0.1, None, 0.3]


async def test_memory_is_bounded(store: Store) -> None:
    memory = Memory(store, ROOM)
    for start in range(0, 2000, 100):
        await memory.write(dict.fromkeys(keys(100, start), score(0.5)))
    forget(store)
    kept = await memory.read(keys(2000))
    assert 80 <= len(kept) <= ROOM // 300


async def test_vectors_take_their_length(store: Store) -> None:
    memory = Memory(store, ROOM)
    large = Vector(bytes(12 << 10), scored_at=1000)
    everything = dict.fromkeys(keys(20), large)
    await memory.write(everything)
    await memory.write({keys(1, 99)[0]: Vector(bytes(ROOM), scored_at=1000)})
    forget(store)
    assert 1 <= len(await memory.read(list(everything))) <= 5
    assert not await memory.read(keys(1, 99))


async def test_a_newer_score_wins_over_one_that_was_read_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(store, ROOM)
    (one,) = keys(1)
    await store.write({one: score(0.1)})
    read = store.read

    async def slow_read(asked: Sequence[bytes]) -> Mapping[bytes, Finding]:
        found = await read(asked)
        await memory.write(
            {one: score(0.2)}, {one: 1}, is_refresh=True
        )  # a refresh, between the read and its end
        return found

    monkeypatch.setattr(store, "read", slow_read)
    await memory.read([one])
    assert await values(memory, one) == [0.2]


async def test_another_ones_newer_score_replaces_one_that_grew_old(
    store: Store, clock: Now
) -> None:
    memory = Memory(store, ROOM)
    (one,) = keys(1)
    await memory.write({one: score(0.1)})
    clock.time = 1061.0
    await store.write({one: score(0.2, 1061)})
    assert await values(memory, one) == [0.2]
    forget(store)
    assert await values(memory, one) == [0.2]


async def test_what_another_process_replaced_is_forgotten(store: Store, tmp_path: Path) -> None:
    another = Store(tmp_path, SMALLEST_LIMIT)
    await another.open()
    mine, theirs = Memory(store, ROOM), Memory(another, ROOM)
    one, two = keys(2)
    await mine.write({one: score(0.1), two: score(0.1)})
    assert await values(theirs, one) == [0.1]
    await theirs.write({one: score(0.2)}, {one: 1}, is_refresh=True)
    assert await values(mine, one) == [0.2]
    await another.close()
    forget(store)
    assert recalled(mine, one)
    assert recalled(mine, two) is None


async def test_what_is_on_disk_is_recalled_and_kept(store: Store) -> None:
    memory = Memory(store, ROOM)
    one, two, three = keys(3)
    await store.write({one: score(0.1), two: score(0.2)})
    assert recalled(memory, one, three) is None
    assert recalled(memory, two, one, two) == [slim(n) for n in (0.2, 0.1, 0.2)]
    forget(store)
    assert recalled(memory, one, two)


async def test_what_grew_old_is_not_recalled(store: Store, clock: Now) -> None:
    memory = Memory(store, ROOM)
    (one,) = keys(1)
    await memory.write({one: score(0.1)})
    clock.time = 1061.0
    assert recalled(memory, one) is None
    await store.write({one: score(0.2, 1061)})
    assert recalled(memory, one) == [slim(0.2, 1061)]


async def test_ones_own_replacing_forgets_nothing(store: Store) -> None:
    memory = Memory(store, ROOM)
    one, two = keys(2)
    await memory.write({one: score(0.1), two: score(0.1)})
    epoch = store.epoch.now
    await memory.write({one: score(0.2)}, {one: 1}, is_refresh=True)
    assert store.epoch.now != epoch
    forget(store)
    assert await values(memory, one, two) == [0.2, 0.1]


async def test_what_was_read_before_the_epoch_ended_is_not_kept(store: Store) -> None:
    memory = Memory(store, ROOM)
    (one,) = keys(1)
    await store.write({one: score(0.1)})
    read = store.read

    async def overtaken(asked: Sequence[bytes]) -> Mapping[bytes, Finding]:
        found = await read(asked)
        store.epoch.advance()
        return found

    vars(store)["read"] = overtaken
    assert await values(memory, one) == [0.1]
    forget(store)
    assert recalled(memory, one) is None


async def test_only_what_is_all_in_memory_is_recalled(store: Store, clock: Now) -> None:
    memory = Memory(store, ROOM)
    one, two, three = keys(3)
    await memory.write({one: score(0.1, 1000), two: score(0.2, 1030)})
    assert [each.scored_at for each in recalled(memory, two, one, two) or ()] == [1030, 1000, 1030]
    assert recalled(memory, one, three) is None
    clock.time = 1070.0
    assert recalled(memory, two)
    assert recalled(memory, two, one) is None
