"""The store's folder: made for this user alone, and refused where it is not safe."""

import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
"""Linux alone has it."""

_NETWORK = frozenset(
    {
        # of file servers
        *("9p", "afs", "cifs", "coda", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"),
        # of clusters
        *("beegfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "pvfs2"),
        # of the machine around a virtual one
        *("prl_fs", "vboxsf", "virtiofs", "vmhgfs"),
        # of programs
        *("fuse.ceph", "fuse.ceph-fuse", "fuse.gcsfuse", "fuse.glusterfs", "fuse.grpcfuse"),
        *("fuse.gvfsd-fuse", "fuse.juicefs", "fuse.mfs", "fuse.osxfs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.smbnetfs", "fuse.sshfs", "fuse.vmhgfs-fuse"),
    }
)
"""Types of file systems that other machines may write to, or that share no memory maps: on these,
SQLite's write-ahead log is not safe."""


class UnsafeFolderError(OSError):
    """The folder must not be used; the message names it and says what to do."""


def prepare(folder: Path) -> None:
    """Make `folder`, and what is missing of the path to it, for this user alone (mode 0700).

    One that is there and open to others is closed to them. Raises OSError where it cannot be made,
    and UnsafeFolderError, before anything is changed, where it is a symbolic link, no folder, or
    another user's. To root, another user is another user, too.
    """
    _make(folder)
    _check(folder, folder.lstat())
    if sys.platform == "win32":
        return
    # What was checked may be another folder by now: what is opened stays the same.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(opened)
        _check(folder, status)
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(opened, 0o700)
    finally:
        os.close(opened)


def network_file_system(folder: Path) -> str | None:
    """Give the type of the file system that `folder` lies on, where that is a network's.

    None where it is not, or where the platform does not say.
    """
    try:
        mounts = os.fsdecode(_MOUNTS.read_bytes())
    except OSError:
        return None
    kind = file_system(mounts, Path(os.path.realpath(folder)))
    return kind if kind in _NETWORK else None


def file_system(mounts: str, folder: Path) -> str | None:
    """Give the type of the file system that `folder` lies on, or None where no mount holds it.

    `mounts` are lines as in /proc/self/mountinfo, and `folder` is a path without symbolic links.
    """
    deepest, found = -1, None
    for line in mounts.split("\n"):
        # id, parent's id, device, root, mount point, options, more fields, "-", type, source, ...
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 6 or not after:
            continue
        point = Path(_unescaped(fields[4]))
        # Of two at one point, the later one hides the other.
        if folder.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, found = len(point.parts), _unescaped(after.split(" ")[0])
    return found


def _make(folder: Path) -> None:
    if os.path.lexists(folder):
        return
    if folder.parent != folder:
        _make(folder.parent)
    with suppress(FileExistsError):  # another process was faster
        folder.mkdir(mode=0o700)


def _check(folder: Path, status: os.stat_result) -> None:
    """Raise UnsafeFolderError unless `status` is that of a folder of this user's."""
    if stat.S_ISLNK(status.st_mode):
        target = Path(os.path.realpath(folder))
        place = target.parent if target.name == folder.name else target
        raise UnsafeFolderError(
            f"{folder} is a symbolic link; set data_dir to where it points, {place}"
        )
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeFolderError(f"{folder} is not a folder; move it away, or give another data_dir")
    if sys.platform != "win32" and status.st_uid != os.geteuid():
        raise UnsafeFolderError(
            f"{folder} belongs to another user (uid {status.st_uid}; this process runs as uid "
            f"{os.geteuid()}); give another data_dir, or chown it"
        )


def _unescaped(field: str) -> str:
    r"""Give a field of a mount with its escapes, such as \040 for a space, resolved."""
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), field)
