"""The processes of a server that has several, and callers of whom each has a connection of its own.

The kernel deals out connections, not calls: many callers reach all processes.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from support.process import ServeProcess
from support.server import Stub, stub_of

OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


def pids(server: ServeProcess) -> set[int]:
    """The processes that serve."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return {int(pid) for pid in children if b"spawn_main" in _command(pid)}


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def lease_holders(data_dir: Path) -> set[int]:
    """The processes that have leases of pairs."""
    inode = (data_dir / "scores-v1" / "leases").stat().st_ino
    locks = Path("/proc/locks").read_text()
    held = rf"POSIX .* WRITE (\d+) \w+:\w+:{inode} \d+ \d+$"
    return {int(pid) for pid in re.findall(held, locks, re.MULTILINE)}


@asynccontextmanager
async def callers(address: str, count: int) -> AsyncGenerator[Sequence[Stub]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(stub_of(address, OWN_CONNECTION)) for _ in range(count)
        ]
