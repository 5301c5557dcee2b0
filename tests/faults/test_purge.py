"""`rerankd purge` at a terminal: its question can be answered, refused and interrupted."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rerankd import AsyncClient
from rerankd_server.caching.epoch import Epoch
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from support.process import environment, rerankd
from support.provider import FakeProvider
from support.server import running

CTRL_D = b"\x04"


class Terminal:
    """A pseudo-terminal, and the process that runs in it."""

    def __init__(self, process: asyncio.subprocess.Process, controller: int) -> None:
        self.process = process
        self._controller = controller
        self.shown = ""

    async def shows(self, text: str) -> None:
        """Wait until it shows `text`."""
        while text not in self.shown:
            more = await self._read()
            assert more, self.shown
            self.shown += more

    async def waits_for_an_answer(self) -> None:
        """Wait until the process sleeps: a signal just before that is only seen after it."""
        status = Path(f"/proc/{self.process.pid}/status")
        while "State:\tS" not in status.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0)

    def type(self, keys: bytes) -> None:
        os.write(self._controller, keys)

    async def ended(self) -> int:
        """Read to the end; gives the exit status."""
        while more := await self._read():
            self.shown += more
        return await self.process.wait()

    async def _read(self) -> str:
        try:
            return (await asyncio.to_thread(os.read, self._controller, 4096)).decode()
        except OSError:  # so Linux says that nobody has the terminal any more
            return ""


@asynccontextmanager
async def terminal(*arguments: str) -> AsyncGenerator[Terminal]:
    """Run one command in a terminal."""
    controller, end = pty.openpty()
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "rerankd_server", *arguments),
                env=environment(),
                stdin=end,
                stdout=end,
                stderr=end,
            )
        finally:
            os.close(end)
        try:
            yield Terminal(process, controller)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        os.close(controller)


async def stored(data_dir: Path) -> int:
    store = Store(data_dir, SMALLEST_LIMIT)
    await store.open()
    try:
        return await store.count()
    finally:
        await store.close()


@pytest.fixture
async def data_dir(provider: FakeProvider, tmp_path: Path) -> Path:
    """A folder with three scores."""
    async with (
        running(tmp_path / "data", base_url=provider.base_url) as app,
        AsyncClient(app.address) as client,
    ):
        await client.rerank("q", ["1 a", "2 b", "3 c"])
    return tmp_path / "data"


def question(data_dir: Path) -> str:
    return f"Delete 3 stored scores in {data_dir}? They were paid for. [y/N] "


async def test_one_ctrl_c_ends_the_question_and_nothing_is_deleted(data_dir: Path) -> None:
    async with terminal("purge", f"--data-dir={data_dir}") as shown:
        await shown.shows(question(data_dir))
        await shown.waits_for_an_answer()
        shown.process.send_signal(signal.SIGINT)
        assert await shown.ended() == 130
    assert shown.shown == f"{question(data_dir)}\r\nnothing was deleted\r\n"
    assert await stored(data_dir) == 3


@pytest.mark.parametrize(
    ("keys", "echo"),
    [(b"n\n", "n\r\n"), (b"\n", "\r\n"), (b"yess\n", "yess\r\n"), (CTRL_D, "\r\n")],
)
async def test_what_is_no_yes_deletes_nothing(data_dir: Path, keys: bytes, echo: str) -> None:
    epoch = Epoch(data_dir / "scores-v1")
    before = epoch.now
    async with terminal("purge", f"--data-dir={data_dir}") as shown:
        await shown.shows(question(data_dir))
        shown.type(keys)
        assert await shown.ended() == 1
    said = "nothing was deleted; --yes deletes without asking\r\n"
    # A terminal may show Ctrl-D as ^D, and take it back.
    assert shown.shown.replace("^D\b\b", "") == f"{question(data_dir)}{echo}{said}"
    assert await stored(data_dir) == 3
    assert epoch.now == before, "servers may keep what they have in memory"


@pytest.mark.parametrize("keys", [b"y\n", b" YES \n"])
async def test_a_yes_deletes_all(data_dir: Path, keys: bytes) -> None:
    async with terminal("purge", f"--data-dir={data_dir}") as shown:
        await shown.shows(question(data_dir))
        shown.type(keys)
        assert await shown.ended() == 0
    assert shown.shown.endswith(
        f"\r\ndeleted 3 scores; servers that use {data_dir} forget them, too\r\n"
    )
    assert await stored(data_dir) == 0


@pytest.mark.parametrize("flags", [(), ("--yes",)])
@pytest.mark.parametrize("there", [None, ".", "scores-v1", "scores-v2"])
async def test_where_there_is_no_store_it_says_so_and_makes_nothing(
    tmp_path: Path, flags: tuple[str, ...], there: str | None
) -> None:
    data_dir = tmp_path / "data"
    if there is not None:
        (data_dir / there).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    status, out, err = await rerankd("purge", f"--data-dir={data_dir}", *flags)
    assert (status, out) == (2, "")
    assert err == f"rerankd: data_dir: there is no store in {data_dir}; nothing was deleted\n"
    assert sorted(tmp_path.rglob("*")) == before


async def test_where_there_is_no_store_nobody_is_asked(tmp_path: Path) -> None:
    async with terminal("purge", f"--data-dir={tmp_path / 'data'}") as shown:
        assert await shown.ended() == 2
    assert "[y/N]" not in shown.shown
    assert not (tmp_path / "data").exists()
