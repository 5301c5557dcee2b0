"""The store's folder: this user's alone, and nothing is changed where it is not safe."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankd_server.caching import folder as folder_module
from rerankd_server.caching.folder import (
    UnsafeFolderError,
    file_system,
    network_file_system,
    prepare,
)

ANOTHER = 54_321
"""A user's id that is not ours."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_this_users_alone(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "new"
    before = os.umask(umask)
    try:
        prepare(folder)
        prepare(folder)
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert folder.stat().st_uid == os.geteuid()


def test_the_folders_around_it_are_made_for_this_user_alone_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        prepare(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [mode(each) for each in made] == [0o700] * 3
    assert mode(tmp_path) == 0o755  # not ours to change


@pytest.mark.parametrize("given", [0o777, 0o755, 0o500, 0o2770, 0o1700])
def test_a_folder_that_is_open_to_others_is_closed_and_keeps_its_files(
    tmp_path: Path, given: int
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "file").write_text("kept")
    (folder / "file").chmod(0o644)
    folder.chmod(given)
    prepare(folder)
    assert mode(folder) == 0o700
    assert (folder / "file").read_text() == "kept"
    assert mode(folder / "file") == 0o644


def test_a_relative_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(Path("a") / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


@pytest.mark.parametrize("name", ["scores-v1", "elsewhere"])
def test_a_symbolic_link_is_refused_and_its_target_left_alone(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target" / name
    target.mkdir(parents=True)
    target.chmod(0o755)
    folder = tmp_path / "scores-v1"
    folder.symlink_to(target)
    with pytest.raises(UnsafeFolderError) as raised:
        prepare(folder)
    # data_dir is the folder around a store: where the target's name is a store's, that is meant.
    place = target.parent if name == "scores-v1" else target
    said = f"{folder} is a symbolic link; set data_dir to where it points, {place}"
    assert str(raised.value) == said
    assert mode(target) == 0o755
    assert not list(target.iterdir())
    assert folder.is_symlink()


@pytest.mark.parametrize("target", ["nowhere", "scores-v1"])
def test_a_symbolic_link_to_nothing_is_refused_and_nothing_is_made(
    tmp_path: Path, target: str
) -> None:
    folder = tmp_path / "scores-v1"
    folder.symlink_to(tmp_path / target)
    with pytest.raises(UnsafeFolderError, match="is a symbolic link"):
        prepare(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_folder_around_it_may_be_a_symbolic_link(tmp_path: Path) -> None:
    real, data_dir = tmp_path / "real", tmp_path / "data"
    real.mkdir()
    real.chmod(0o755)
    data_dir.symlink_to(real)
    prepare(data_dir / "scores-v1")
    assert mode(real / "scores-v1") == 0o700
    assert mode(real) == 0o755


def make_file(path: Path) -> None:
    path.write_text("mine")


@pytest.mark.parametrize("make", [make_file, os.mkfifo])
def test_what_is_no_folder_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "scores-v1"
    make(path)
    path.chmod(0o644)
    with pytest.raises(UnsafeFolderError) as raised:
        prepare(path)
    assert str(raised.value) == f"{path} is not a folder; move it away, or give another data_dir"
    assert mode(path) == 0o644


def test_a_folder_within_a_file_is_an_error_of_the_systems(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError):
        prepare(tmp_path / "file" / "a" / "scores-v1")


def made_by_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Make `folder` as another user's; gives its owner, and who this process runs as."""
    folder.mkdir()
    folder.chmod(0o755)
    me = os.geteuid()
    if me == 0:
        os.chown(folder, ANOTHER, -1)
        return ANOTHER, me
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    return me, ANOTHER


def test_another_users_folder_is_refused_also_by_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scores-v1"
    owner, me = made_by_another(folder, monkeypatch)
    with pytest.raises(UnsafeFolderError) as raised:
        prepare(folder)
    assert str(raised.value) == (
        f"{folder} belongs to another user (uid {owner}; this process runs as uid {me}); "
        "give another data_dir, or chown it"
    )
    assert mode(folder) == 0o755
    assert folder.stat().st_uid == owner


def after_the_look(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen between the first look at the folder and what is done with it."""
    look = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        status = look(path)
        happens()
        return status

    monkeypatch.setattr(Path, "lstat", lstat)


def test_a_link_that_takes_the_folders_place_after_the_look_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "scores-v1", tmp_path / "target"
    folder.mkdir()
    target.mkdir()
    target.chmod(0o755)

    def swap() -> None:
        folder.rmdir()
        folder.symlink_to(target)

    with monkeypatch.context() as patched:
        after_the_look(patched, swap)
        with pytest.raises(NotADirectoryError):
            prepare(folder)
    assert folder.is_symlink()
    assert mode(target) == 0o755


def test_another_users_folder_that_takes_its_place_after_the_look_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scores-v1"
    folder.mkdir()

    def swap() -> None:
        folder.rmdir()
        made_by_another(folder, monkeypatch)

    with monkeypatch.context() as patched:
        after_the_look(patched, swap)
        with pytest.raises(UnsafeFolderError, match="belongs to another user"):
            prepare(folder)
    assert mode(folder) == 0o755


MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:6 / /dev rw,relatime shared:2 - devtmpfs devtmpfs rw,size=12334432k,mode=755
24 23 0:24 / /dev/pts rw,nosuid shared:3 - devpts devpts rw,mode=600,ptmxmode=000
27 1 254:0 / / rw,relatime shared:1 master:7 - ext4 /dev/vda rw,errors=continue
28 27 0:40 / /home rw,relatime shared:4 - autofs systemd-1 rw,fd=42,pgrp=1,timeout=0,direct
29 28 0:41 / /home rw,relatime shared:5 - nfs4 files.example:/home rw,vers=4.2,proto=tcp
30 29 8:17 /@cache /home/ann/.cache rw,noatime - btrfs /dev/sdb1 rw,subvol=/@cache
31 27 0:43 / /mnt/my\040files rw,relatime - cifs //server/my\040files rw,vers=3.1.1
32 27 0:44 / /mnt/tab\011back\134slash rw,relatime - smb3 //server/odd rw
33 27 0:45 / /mnt/c rw,noatime - 9p C:\134 rw,aname=drvfs;path=C:\134,trans=fd
34 27 0:46 / /mnt/ssh rw,nosuid,nodev - fuse.sshfs ann@far:/srv - rw,user_id=1000
35 27 0:47 / /mnt/nothing rw,relatime unbindable - fuse.lxcfs lxcfs rw
36 27 0:48 / /srv rw,relatime - nfs files.example:/srv rw,vers=3
37 27 8:33 / /srv rw,relatime - xfs /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/cache/rerankd", "ext4"),
        ("/homes/ann", "ext4"),  # the name of a mount point is not all of its name
        ("/home", "nfs4"),  # which hides the autofs that is mounted at the same point
        ("/home/bob/.cache/rerankd", "nfs4"),
        ("/home/ann/.cache/rerankd", "btrfs"),
        ("/home/ann/.cached", "nfs4"),
        ("/mnt/my files/rerankd", "cifs"),
        ("/mnt/my", "ext4"),
        ("/mnt/tab\tback\\slash/rerankd", "smb3"),
        ("/mnt/c/Users/ann", "9p"),
        ("/mnt/ssh/rerankd", "fuse.sshfs"),
        ("/mnt/nothing", "fuse.lxcfs"),
        ("/srv/rerankd", "xfs"),
        ("/dev/pts/0", "devpts"),
    ],
)
def test_the_deepest_mount_and_of_two_the_last_holds_a_folder(folder: str, kind: str) -> None:
    assert file_system(MOUNTS, Path(folder)) == kind


@pytest.mark.parametrize(
    "mounts", ["", "\n", "27 1 254:0 / / rw\n", "27 - ext4\n", "31 27 0:4 / /mnt rw - ext4 a rw\n"]
)
def test_a_folder_that_no_mount_holds_has_no_type(mounts: str) -> None:
    assert file_system(mounts, Path("/srv/rerankd")) is None


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        *((kind, kind) for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "virtiofs")),
        *((kind, kind) for kind in ("lustre", "fuse.sshfs", "fuse.glusterfs", "afs")),
        *((kind, None) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk")),
    ],
)
def test_network_file_systems_are_named_also_behind_symbolic_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, found: str | None
) -> None:
    mounted, link = tmp_path / "caf\udce9 mounted", tmp_path / "link"
    mounted.mkdir()
    link.symlink_to(mounted)
    point = os.fsencode(mounted).replace(b" ", b"\\040")
    (tmp_path / "mounts").write_bytes(
        b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        b"28 27 0:40 / %s rw,relatime shared:4 - %s server:/files rw\n" % (point, kind.encode())
    )
    monkeypatch.setattr(folder_module, "_MOUNTS", tmp_path / "mounts")
    for folder in (mounted, mounted / "not" / "made" / "yet", link, link / "scores-v1"):
        assert network_file_system(folder) == found
    assert network_file_system(tmp_path) is None


def test_this_machine_says_what_a_folder_lies_on(tmp_path: Path) -> None:
    kind = file_system(os.fsdecode(folder_module._MOUNTS.read_bytes()), tmp_path.resolve())
    assert kind
    assert network_file_system(tmp_path) in (None, kind)
    assert file_system(Path("/proc/self/mountinfo").read_text(), Path("/proc/self")) == "proc"


def test_a_platform_that_does_not_tell_of_mounts_has_no_network_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_MOUNTS", tmp_path / "missing")
    assert network_file_system(tmp_path) is None


def test_a_loop_of_symbolic_links_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert network_file_system(tmp_path / "a") == network_file_system(tmp_path)
