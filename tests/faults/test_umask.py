"""Whatever the umask, other users of the machine neither reach the server nor see its files."""

import signal
import stat
from pathlib import Path

import pytest

from rerankd import AsyncClient
from support.process import serving_under
from support.provider import FakeProvider


def open_to_others(*paths: Path) -> dict[str, str]:
    """Give the modes of those of `paths` that others may do anything with."""
    modes = {path: path.lstat().st_mode for path in paths}
    return {str(path): stat.filemode(mode) for path, mode in modes.items() if mode & 0o077}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_a_unix_socket_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    socket = tmp_path / "socket"
    flags = f"--listen=unix:{socket}", "--model=lexical"
    async with serving_under(umask, tmp_path / "data", *flags) as (server, address):
        assert stat.S_ISSOCK(socket.stat().st_mode)
        assert open_to_others(socket) == {}
        async with AsyncClient(address) as client:
            assert len(await client.rerank("q", ["a", "b"])) == 2
        assert umask_of(server.pid) == umask


async def test_all_that_is_stored_is_its_owners_alone(
    provider: FakeProvider, tmp_path: Path
) -> None:
    data_dir = tmp_path / "new" / "data"
    async with serving_under(0, data_dir, OPENAI_BASE_URL=provider.base_url) as (server, address):
        async with AsyncClient(address) as client:
            await client.rerank("q", ["1 a", "2 b"])
        while_it_runs = [data_dir.parent, data_dir, *data_dir.rglob("*")]
        assert open_to_others(*while_it_runs) == {}
        assert {path.name for path in while_it_runs} >= {"scores-v1", "cache.db", "leases"}
        server.send(signal.SIGTERM)
        assert await server.ended() == 0
    assert open_to_others(*data_dir.rglob("*")) == {}


def umask_of(pid: int) -> int:
    """Give the umask of a running process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Umask:")]
    return int(line.split()[1], 8)
