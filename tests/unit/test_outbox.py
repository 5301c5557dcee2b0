"""Scores on their way to the database: in order, together, and kept while they cannot be stored."""

import asyncio
from collections.abc import Mapping

import pytest

from rerankd_server.caching.entry import Decision, Entry, Outcome
from rerankd_server.caching.outbox import Outbox
from rerankd_server.scoring.scorer import Score
from support.clock import SetClock, settle


def entry(value: float, since: int = 0, *, is_refresh: bool = False) -> Entry:
    return Entry(Score(value), b"sealed", since, is_refresh)


def some(*names: str) -> dict[bytes, Entry]:
    return {name.encode(): entry(0.5) for name in names}


class Disk:
    """Where entries go: at a gate, and while it works."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self.clock = SetClock()
        self.gate = asyncio.Event()
        self.gate.set()
        self.works = True
        self.taken: list[set[bytes]] = []
        self.there: dict[bytes, Score | None] = {}
        """What wins over whatever comes under a key."""
        self.told: list[tuple[Outcome, bool]] = []
        self.outbox = Outbox(
            self.commit, lambda *settled: self.told.append(settled), self.clock, limit
        )

    async def commit(self, entries: Mapping[bytes, Entry]) -> Decision | None:
        await self.gate.wait()
        if not self.works:
            return None
        self.taken.append(set(entries))
        found = {key: each.finding for key, each in entries.items()}
        return Decision({**found, **{k: v for k, v in self.there.items() if k in found}}, {}, False)


async def test_what_comes_while_one_transaction_runs_goes_into_the_next() -> None:
    disk = Disk()
    disk.gate.clear()
    calls = [asyncio.create_task(disk.outbox.store(some(name))) for name in "abcab"]
    await settle()
    disk.gate.set()
    outcomes = await asyncio.gather(*calls)
    assert [set(each) for each in outcomes] == [{b"a"}, {b"b"}, {b"c"}, {b"a"}, {b"b"}]
    assert disk.taken == [{b"a", b"b", b"c"}, {b"a", b"b"}]


async def test_a_transaction_is_bounded() -> None:
    disk = Disk()
    names = [str(n) for n in range(1000)]
    assert len(await disk.outbox.store(some(*names))) == 1000
    assert [len(each) for each in disk.taken] == [256, 256, 256, 232]


async def test_what_cannot_be_stored_waits_and_nobody_waits_for_it() -> None:
    disk = Disk()
    disk.works = False
    first = asyncio.create_task(disk.outbox.store(some("a")))
    second = asyncio.create_task(disk.outbox.store(some("b")))
    assert await first == {b"a": Score(0.5)}
    assert await second == {b"b": Score(0.5)}
    assert await disk.outbox.store(some("c")) == {b"c": Score(0.5)}
    assert disk.outbox.waiting == 3
    disk.clock.advance(1)
    await settle()
    assert disk.outbox.waiting == 3
    disk.works = True
    disk.clock.advance(1)
    await settle()
    assert disk.outbox.waiting == disk.outbox.lost == 0
    assert disk.taken == [{b"a", b"b", b"c"}]


async def test_of_two_that_wait_the_later_fresh_one_stays() -> None:
    disk = Disk()
    disk.works = False
    for value, since, is_refresh, kept in (
        (0.1, 3, False, 0.1),
        (0.2, 5, False, 0.1),
        (0.3, 5, True, 0.3),
        (0.4, 4, True, 0.3),
        (0.5, 9, False, 0.3),
        (0.6, 6, True, 0.6),
    ):
        outcome = await disk.outbox.store({b"a": entry(value, since, is_refresh=is_refresh)})
        assert outcome == {b"a": Score(kept)}
    assert disk.outbox.overlay([b"a", b"b"], {b"a": Score(0.9), b"b": Score(0.8)}) == {
        b"a": Score(0.6),
        b"b": Score(0.8),
    }


async def test_what_waits_plainly_stands_behind_what_is_stored() -> None:
    disk = Disk()
    disk.works = False
    await disk.outbox.store(some("a", "b"))
    assert disk.outbox.overlay([b"a", b"b"], {b"a": Score(0.9)}) == {
        b"a": Score(0.9),
        b"b": Score(0.5),
    }


@pytest.mark.parametrize("there", [Score(0.9), None])
async def test_who_loses_late_is_told_to_all(there: Score | None) -> None:
    disk = Disk()
    disk.works = False
    await disk.outbox.store(some("a"))
    disk.works = True
    disk.there[b"a"] = there
    disk.clock.advance(1)
    await settle()
    assert disk.told == [({b"a": Score(0.5)}, False), ({b"a": there}, True)]


async def test_what_waits_is_bounded_and_what_is_lost_is_counted() -> None:
    disk = Disk(limit=10_000)
    disk.works = False
    names = [str(n) for n in range(100)]
    await disk.outbox.store(some(*names))
    assert 10 <= disk.outbox.waiting <= 20
    assert disk.outbox.waiting + disk.outbox.lost == 100
    assert disk.outbox.overlay([b"0", b"99"], {}) == {b"99": Score(0.5)}


async def test_an_error_that_is_none_of_the_databases_is_the_callers() -> None:
    disk = Disk()

    async def fail(entries: Mapping[bytes, Entry]) -> Decision | None:
        if b"a" in entries:
            raise ZeroDivisionError
        return await disk.commit(entries)

    broken = Outbox(fail, lambda *_: None, disk.clock)
    first = asyncio.create_task(broken.store(some("a")))
    await asyncio.sleep(0)
    behind = asyncio.create_task(broken.store(some("a", "b")))
    last = asyncio.create_task(broken.store(some("b", "c")))  # goes into no transaction with that
    for failing in (first, behind):
        with pytest.raises(ZeroDivisionError):
            await failing
    assert await last == {b"b": Score(0.5), b"c": Score(0.5)}
    assert broken.waiting == 0
