"""Leases: of all processes that use one folder, one buys a pair at a time."""

import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from rerankd_server.caching import leases as module
from rerankd_server.caching.leases import Leases
from rerankd_server.condition import Condition
from support.other_process import OtherProcess, other_process

KEY, SAME_SLOT, OTHER_SLOT = (bytes(30) + end for end in (b"\1\2", b"\1\2", b"\1\3"))
SAME_SLOT = b"\1" + SAME_SLOT[1:]


@pytest.fixture
async def other(tmp_path: Path) -> AsyncGenerator[OtherProcess]:
    async with other_process(tmp_path) as process:
        yield process


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    (tmp_path / "scores-v1").mkdir(exist_ok=True)
    return Leases(tmp_path / "scores-v1" / "leases")


def test_a_look_at_some_pairs_says_the_same_of_them(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    look = leases.look().of([KEY])
    lease = look.lease(KEY)
    assert lease
    lease.give_back()
    assert look.landings(KEY) == leases.look().landings(KEY) == 0
    assert look.lease(KEY)


async def test_one_process_at_a_time_has_a_lease(leases: Leases, other: OtherProcess) -> None:
    assert await other.lease(KEY)
    look = leases.look()
    assert look.lease(KEY) is None
    assert not look.is_free(KEY)
    mine = look.lease(OTHER_SLOT)
    assert mine
    assert look.is_free(OTHER_SLOT)
    assert not await other.lease(OTHER_SLOT)
    mine.give_back()
    await other.look()
    assert await other.lease(OTHER_SLOT)


async def test_what_another_gave_back_since_the_look_is_not_leased(
    leases: Leases, other: OtherProcess
) -> None:
    before = leases.look()
    assert await other.lease(KEY)
    await other.give_back(KEY)
    assert before.is_free(KEY)
    assert before.lease(KEY) is None  # the pair may be stored by now
    after = leases.look()
    assert after.landings(KEY) != before.landings(KEY)
    assert after.lease(KEY)


async def test_a_lease_that_was_refused_is_not_held(leases: Leases, other: OtherProcess) -> None:
    before = leases.look()
    assert await other.lease(KEY)
    await other.give_back(KEY)
    assert before.lease(KEY) is None
    await other.look()
    assert await other.lease(KEY)


async def test_a_lease_ends_with_its_process(leases: Leases, other: OtherProcess) -> None:
    look = leases.look()
    assert await other.lease(KEY)
    assert look.lease(KEY) is None
    await other.kill()
    assert look.lease(KEY)


async def test_what_we_gave_back_ourselves_is_no_reason_to_look_again(
    leases: Leases, other: OtherProcess
) -> None:
    look = leases.look()
    for _ in range(300):  # more than a byte counts to
        lease = look.lease(KEY)
        assert lease
        lease.give_back()
    assert not await other.lease(KEY)  # to the other, it is one


async def test_pairs_of_one_slot_are_leased_together(leases: Leases, other: OtherProcess) -> None:
    look = leases.look()
    one, two = look.lease(KEY), look.lease(SAME_SLOT)
    assert one
    assert two
    one.give_back()
    one.give_back()  # once is enough
    await other.look()
    assert not await other.lease(KEY)
    two.give_back()
    await other.look()
    assert await other.lease(KEY)


def test_only_this_user_may_touch_the_file(leases: Leases, tmp_path: Path) -> None:
    leases.look()
    status = (tmp_path / "scores-v1" / "leases").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == 1 << 16


async def test_a_file_that_was_replaced_is_left_for_the_new_one(
    leases: Leases, tmp_path: Path
) -> None:
    old = leases.look().lease(KEY)
    assert old
    (tmp_path / "scores-v1" / "leases").unlink()
    async with other_process(tmp_path) as other:
        assert await other.lease(KEY)
        assert leases.look().lease(KEY) is None
        old.give_back()


def test_without_a_file_pairs_are_leased_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, bool]] = []
    condition = Condition("cache")
    condition.watch(lambda name, works: told.append((name, works)))
    leases = Leases(tmp_path / "folder" / "leases", condition)
    for _ in range(2):
        look = leases.look()
        for _ in range(2):
            lease = look.lease(KEY)
            assert lease
            assert look.is_free(KEY)
            lease.give_back()
    assert told == [("cache", True), ("cache", False)]
    (tmp_path / "folder").mkdir()
    assert leases.look().lease(KEY)
    assert told[2:] == [("cache", True)]


def test_without_locks_pairs_are_leased_all_the_same(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HAS_LOCKS", False)
    assert leases.look().lease(KEY)
    assert not (tmp_path / "scores-v1" / "leases").exists()
