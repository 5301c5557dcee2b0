"""The LiteLLM proxy, from an environment of its own: see the Makefile."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from support.process import environment

_COMMAND = os.environ.get("RERANKD_LITELLM", ".venv-litellm/bin/litellm")
KEY = "sk-not-a-real-key-but-long-enough-for-litellm"


@dataclass(frozen=True)
class LiteLLM:
    """A running proxy."""

    address: str
    pid: int


@asynccontextmanager
async def litellm(folder: Path, config: str, **variables: str) -> AsyncGenerator[LiteLLM]:
    """Run a proxy set up by `config`, YAML, with `folder` for it and its log."""
    (folder / "config.yaml").write_text(config)
    address = f"http://127.0.0.1:{(port := _free_port())}"
    with (folder / "litellm.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            str(Path(_COMMAND).absolute()),
            *("--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)),
            cwd=folder,
            env=environment(
                LITELLM_MASTER_KEY=KEY,
                LITELLM_LOCAL_MODEL_COST_MAP="True",
                LITELLM_TELEMETRY="False",
                **variables,
            ),
            stdout=log,
            stderr=log,
        )
    try:
        await _until_it_answers(f"{address}/health/liveliness", process)
        yield LiteLLM(address, process.pid)
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def _until_it_answers(url: str, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as session:
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(0.2)  # it is another's process: there is no gate to wait at
    raise AssertionError("LiteLLM did not start")
