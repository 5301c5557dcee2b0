"""`rerankd serve` as people run it: a process of its own, with its log on standard error."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Log = Mapping[str, Any]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without anything that sets rerankd up, and `variables`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RERANKD_", "OPENAI_"))
    }
    return kept | variables


class ServeProcess:
    """A running server; `logs` are the lines that it has logged and somebody has waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.logs: list[Log] = []
        self.text = ""

    async def log(self, event: str) -> Log:
        """Wait for the next log line that says `event`."""
        assert self._process.stderr
        while line := await self._process.stderr.readline():
            self.text += line.decode()
            entry = json.loads(line)
            self.logs.append(entry)
            if entry["event"] == event:
                return dict(entry)
        raise AssertionError(f"the server ended without saying {event!r}:\n{self.text}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def memory(self) -> int:
        """Give the bytes of memory that it has in use."""
        return memory_of(self.pid)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; gives the exit status."""
        assert self._process.stderr
        self.text += (await self._process.stderr.read()).decode()
        return await self._process.wait()


def memory_of(pid: int) -> int:
    """Give the bytes of memory that a process has in use."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) << 10


@asynccontextmanager
async def serving(
    data_dir: Path, *flags: str, **variables: str
) -> AsyncGenerator[tuple[ServeProcess, str]]:
    """Run a server on a free port; gives it and its address."""
    async with serving_under(-1, data_dir, *flags, **variables) as running:
        yield running


@asynccontextmanager
async def serving_under(
    umask: int, data_dir: Path, *flags: str, **variables: str
) -> AsyncGenerator[tuple[ServeProcess, str]]:
    """Run one under a umask; -1: this process's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "rerankd_server", "serve", "--listen=127.0.0.1:0", "--log-format=json"),
        *(f"--data-dir={data_dir}", *flags),
        env=environment(**variables),
        umask=umask,
        stderr=asyncio.subprocess.PIPE,
    )
    server = ServeProcess(process)
    try:
        ready = await server.log("ready")
        yield server, str(ready["listen"])
    finally:
        if process.returncode is None:
            process.kill()
        await server.ended()


async def rerankd(*arguments: str, stdin: bytes = b"", **variables: str) -> tuple[int, str, str]:
    """Run one command to its end; gives exit status, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "rerankd_server", *arguments),
        env=environment(**variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
