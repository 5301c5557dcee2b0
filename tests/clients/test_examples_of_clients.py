"""The example of each language runs against a server, and prints what it promises."""

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from clients.golden import CLIENTS, JAVA
from support.process import serving

EXAMPLES: Mapping[str, Sequence[str]] = {
    "python": [sys.executable, str(CLIENTS / "python/example.py")],
    "go": [str(CLIENTS / "go/build/example")],
    "typescript": ["node", str(CLIENTS / "typescript/build/example/rank.js")],
    "java": [*JAVA, "io.github.rerankd.example.Example"],
    "rust": [str(CLIENTS / "rust/target/debug/examples/rank")],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = metafunc.config.getoption("--clients").split(",")
    metafunc.parametrize("language", [each for each in wanted if each in EXAMPLES])


async def test_example(language: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, address):
        process = await asyncio.create_subprocess_exec(
            *(*EXAMPLES[language], address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    text = out.decode()
    assert len(re.findall(r"^\d ", text, re.MULTILINE)) >= 3, text  # a ranking, a line a document
    assert re.search(r"final|true", text), text  # partial rankings
    assert re.search(r"(documents|query|model).*is (empty|not served)", text, re.DOTALL), text
