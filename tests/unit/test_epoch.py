"""The epoch: whatever becomes of its file, what others replaced is known."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankd_server.caching.epoch import Epoch


def remove(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    os.truncate(file, 0)


def cut_in_two(file: Path) -> None:
    os.truncate(file, 4)


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.replace(file)


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "inside").touch()


def make_a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("elsewhere"))


def make_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


TROUBLES = [remove, cut, cut_in_two, replace, make_a_folder, make_a_link, make_a_pipe]


def test_it_stays_until_somebody_begins_another(tmp_path: Path) -> None:
    mine, theirs = Epoch(tmp_path), Epoch(tmp_path)
    first = mine.now
    assert first == mine.now == theirs.now
    before, now = theirs.advance()
    assert before == first != now
    assert now == mine.now == theirs.now


@pytest.mark.parametrize("trouble", TROUBLES)
def test_whatever_becomes_of_the_file_is_another_epoch(
    tmp_path: Path, trouble: Callable[[Path], None]
) -> None:
    mine, theirs = Epoch(tmp_path), Epoch(tmp_path)
    first = mine.now
    trouble(tmp_path / "epoch")
    second = theirs.now
    assert first != second
    assert second == mine.now == theirs.now
    _, third = mine.advance()
    assert third != second
    assert theirs.now == third
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_whatever_becomes_of_the_file_another_can_begin_one(
    tmp_path: Path, trouble: Callable[[Path], None]
) -> None:
    mine, theirs = Epoch(tmp_path), Epoch(tmp_path)
    first = mine.now
    trouble(tmp_path / "epoch")
    _, second = theirs.advance()
    assert first != second == mine.now


def test_an_old_file_that_is_restored_is_another_epoch(tmp_path: Path) -> None:
    mine, file = Epoch(tmp_path), tmp_path / "epoch"
    first, old = mine.now, file.read_bytes()
    Epoch(tmp_path).advance()
    while mine.now >> 64 & (1 << 64) - 1 == first >> 64 & (1 << 64) - 1:
        file.chmod(0o600)  # until the file system's clock has ticked
    file.write_bytes(old)
    assert mine.now != first


def test_without_a_folder_nothing_that_is_in_memory_is_trusted(tmp_path: Path) -> None:
    epoch = Epoch(tmp_path / "gone")
    assert epoch.now != epoch.now
    assert not (tmp_path / "gone").exists()


def test_who_stands_still_with_the_lock_holds_up_nobody(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    mine, theirs = Epoch(tmp_path), Epoch(tmp_path)
    first = mine.now
    with (tmp_path / "epoch").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _, second = theirs.advance()
        assert first != second == mine.now
        held.write(b"too late")
        held.flush()
        assert mine.now == second, "what it writes is in no file that anyone looks into"


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Epoch(tmp_path).advance()
    finally:
        os.umask(before)
    assert (tmp_path / "epoch").stat().st_mode & 0o077 == 0
