"""Another process that uses the same folder: it leases pairs, and stores them, as it is told.

`python -m support.other_process FOLDER` does what each line that it reads says, and prints "yes" or
"no".
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from rerankd_server.caching.leases import Lease, Leases
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.scoring.scorer import Score
from support.process import environment


class OtherProcess:
    """A running one, and what it can be told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def look(self) -> None:
        await self._tell("look")

    async def lease(self, key: bytes) -> bool:
        """Whether it gets a lease, by what it saw when it looked last."""
        return await self._tell(f"lease {key.hex()}")

    async def store(self, key: bytes, value: float) -> None:
        await self._tell(f"store {key.hex()} {value}")

    async def give_back(self, key: bytes) -> None:
        await self._tell(f"give-back {key.hex()}")

    async def buy(self, key: bytes, value: float) -> None:
        """Do all that it takes to buy a pair."""
        await self.look()
        assert await self.lease(key)
        await self.store(key, value)
        await self.give_back(key)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def _tell(self, line: str) -> bool:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n".encode())
        answer = await self._process.stdout.readline()
        assert answer
        return answer == b"yes\n"


@asynccontextmanager
async def other_process(data_dir: Path) -> AsyncGenerator[OtherProcess]:
    """Run one that uses the folder `data_dir`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.other_process", str(data_dir)),
        env=environment(PYTHONPATH=":".join(sys.path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    other = OtherProcess(process)
    try:
        await other.look()
        yield other
    finally:
        if process.returncode is None:
            await other.kill()


async def _obey(data_dir: Path) -> None:
    store = Store(data_dir, SMALLEST_LIMIT)
    await store.open()
    leases = Leases(store.folder / "leases")
    look = leases.look()
    held: dict[str, Lease] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        is_done = True
        match line.split():
            case ["look"]:
                look = leases.look()
            case ["lease", key]:
                lease = look.lease(bytes.fromhex(key))
                is_done = lease is not None
                if lease is not None:
                    held[key] = lease
            case ["store", key, value]:
                await store.write({bytes.fromhex(key): Score(float(value))})
            case ["give-back", key]:
                held.pop(key).give_back()
        print("yes" if is_done else "no", flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_obey(Path(sys.argv[1])))
