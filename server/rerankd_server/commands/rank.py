"""`rerankd rank`: ask a running server, and watch the ranking fill in."""

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from rerankd import AsyncClient, Document, Options, Ranking, RerankError
from rerankd_server.commands.failure import tell
from rerankd_server.commands.table import rows_that_fit, summary, table

_MOST_TOP_N = (1 << 31) - 1
_LONGEST_TIMEOUT = 1e6


class InputError(Exception):
    """A file that cannot be read as documents; the message names the line."""


def rank(options: argparse.Namespace) -> int:
    """Run the command; gives the exit status."""
    try:
        documents = list(read_documents(options.files))
        _check(options)
        ranking, seconds = asyncio.run(_rank(options, documents))
    except (InputError, RerankError) as error:
        return tell(error, options.address)
    if options.json:
        print(json.dumps(_as_json(ranking, seconds), ensure_ascii=False))
    has_scores = any(result.score is not None for result in ranking)
    return 0 if has_scores else 1


def _check(options: argparse.Namespace) -> None:
    """Refuse what no message can hold. Raises InputError."""
    for name in ("query", "instruction", "model"):
        try:
            getattr(options, name).encode()
        except UnicodeEncodeError:
            raise InputError(f"{name}: is not UTF-8") from None
    if abs(options.top_n) > _MOST_TOP_N:
        raise InputError(f"--top-n: {options.top_n} is too large a number")
    if not 0 < options.timeout < _LONGEST_TIMEOUT:
        raise InputError(f"--timeout: {options.timeout} is not a number of seconds to wait")


async def _rank(
    options: argparse.Namespace, documents: Sequence[Document]
) -> tuple[Ranking, float]:
    asked: Options = {
        "model": options.model,
        "top_n": options.top_n,
        "instruction": options.instruction,
    }
    started = time.perf_counter()
    async with AsyncClient(options.address, timeout=options.timeout) as client:
        if options.json:
            ranking = await client.rerank(options.query, documents, **asked)
            return ranking, time.perf_counter() - started
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # it is a text file
        return await show(client, options.query, documents, Console(), asked)


async def show(
    client: AsyncClient,
    query: str,
    documents: Sequence[Document],
    console: Console,
    options: Options,
) -> tuple[Ranking, float]:
    """Draw rankings as they come; give the last one and the seconds it took. Raises RerankError."""
    started = time.perf_counter()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        async for ranking in client.rerank_partial(query, documents, **options):
            live.update(table(ranking, documents, rows_that_fit(console)), refresh=True)
    seconds = time.perf_counter() - started
    console.print(table(ranking, documents))
    console.print(summary(ranking, seconds), highlight=False, markup=False, soft_wrap=True)
    return ranking, seconds


def read_documents(files: Sequence[Path]) -> Iterator[Document]:
    """Read documents from `files`, or standard input: a line each, or JSON lines.

    Blank lines are passed over. Raises InputError.
    """
    for file in files or [Path("-")]:
        if str(file) == "-":
            yield from parse_documents(sys.stdin.buffer, "standard input")
            continue
        try:
            with file.open("rb") as lines:
                yield from parse_documents(lines, str(file))
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}") from None


def parse_documents(lines: Iterable[bytes], name: str) -> Iterator[Document]:
    """Read `lines` of a file called `name`. A line that begins with `{` is a JSON object."""
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise InputError(f"{name}, line {number}: is not UTF-8") from None
        if line.startswith("{"):
            yield _from_json(line, f"{name}, line {number}")
        elif line:
            yield Document(line)


def _from_json(line: str, place: str) -> Document:
    try:
        value: dict[str, Any] = json.loads(line)
        json.dumps(value, ensure_ascii=False).encode()  # half a character has no UTF-8
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: begins like JSON but is not: {error}") from None
    text, name, prior = value.get("text"), value.get("id", ""), value.get("prior_score")
    if not isinstance(text, str):
        raise InputError(f'{place}: needs "text", a string')
    if not isinstance(name, str | int):
        raise InputError(f'{place}: "id" is a string')
    if isinstance(prior, bool) or not isinstance(prior, int | float | None):
        raise InputError(f'{place}: "prior_score" is a number')
    if prior is not None and (abs(prior) > sys.float_info.max or not math.isfinite(prior)):
        raise InputError(f'{place}: "prior_score" is a finite number')
    return Document(text, str(name), prior)


def _as_json(ranking: Ranking, seconds: float) -> dict[str, Any]:
    usage = ranking.usage
    return {
        "model": ranking.model,
        "results": [
            {
                "index": result.index,
                "id": result.id,
                "relevance_score": result.score,
                "source": result.source.value if result.source else None,
                "unscored_reason": result.unscored_reason.value if result.unscored_reason else None,
                "unscored_detail": result.unscored_detail.value if result.unscored_detail else None,
            }
            for result in ranking
        ],
        "usage": {name: getattr(usage, name) for name in usage.__slots__},
        "seconds": round(seconds, 6),
    }
