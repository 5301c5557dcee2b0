"""Makes one runner perform the golden cases, and keeps what it saw."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from clients.servers import Servers, all_servers
from rerankd.v1 import rerank_pb2 as pb
from support.process import environment

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
FILE = HERE / "golden.json"
GOLDEN: Mapping[str, Any] = json.loads(FILE.read_text())
CASES: Mapping[str, Mapping[str, Any]] = {case["name"]: case for case in GOLDEN["cases"]}

CLIENTS = PROJECT / "client"
_CLASSES = ("classes", "test-classes", "lib/*")
JAVA: Sequence[str] = [
    *("java", "-XX:+UseSerialGC", "-cp"),
    ":".join(str(CLIENTS / "java/target" / part) for part in _CLASSES),
]
_PYTHON: Sequence[str] = [sys.executable, str(HERE / "python_runner.py")]
RUNNERS: Mapping[str, Sequence[str]] = {
    "python": _PYTHON,
    "python-asyncio": [*_PYTHON, "--asyncio"],
    "go": [str(CLIENTS / "go/build/conformance")],
    "typescript": ["node", str(CLIENTS / "typescript/build/conformance/runner.js")],
    "java": [*JAVA, "io.github.rerankd.conformance.Runner"],
    "rust": [str(CLIENTS / "rust/target/debug/examples/conformance")],
}
"""The command of each language's runner."""

_PATIENCE = 60
"""Seconds without an event after which a runner counts as hung."""
_LONGEST_LINE = 64 << 20


@dataclass
class Seen:
    """What a runner saw of one case."""

    rankings: list[Mapping[str, Any]] = field(default_factory=list)
    models: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    asked: Mapping[str, int] = field(default_factory=dict)
    """How often a model was asked about the documents that the case names."""
    attempts: int = 0
    """How many calls the real servers ranked for."""


async def perform(language: str, folder: Path) -> Mapping[str, Seen]:
    """Perform all cases. Raises AssertionError where the runner hangs or breaks off."""
    async with all_servers(folder, GOLDEN["judgements"]) as servers:
        seen: dict[str, Seen] = {}
        async with _run(RUNNERS[language], servers) as events:
            async for event in events:
                case = CASES[event["case"]]
                await _take(event, case, seen.setdefault(case["name"], Seen()), servers)
    return seen


@asynccontextmanager
async def _run(
    runner: Sequence[str], servers: Servers
) -> AsyncGenerator[AsyncGenerator[Mapping[str, Any]]]:
    addresses = [f"{name}={address}" for name, address in servers.addresses.items()]
    process = await asyncio.create_subprocess_exec(
        *runner,
        *("golden", str(FILE), *addresses, f"ca={servers.ca}"),
        env=environment(),
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    assert process.stdout
    output = process.stdout

    async def events() -> AsyncGenerator[Mapping[str, Any]]:
        while line := await asyncio.wait_for(output.readline(), _PATIENCE):
            yield json.loads(line)

    try:
        yield events()
        assert await asyncio.wait_for(process.wait(), _PATIENCE) == 0, "the runner failed"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _take(
    event: Mapping[str, Any], case: Mapping[str, Any], seen: Seen, servers: Servers
) -> None:
    """Note an event, and let the servers go on as far as the case has come.

    Nothing here may depend on the next case, which the runner may be at already.
    """
    request = case.get("request", {})
    texts = [document["text"] for document in request.get("documents", ())]
    held = [text for text in texts if text.startswith("held")]
    assert seen.end is None, f"{case['name']}: the runner said more after its end"
    if "ranking" in event:
        seen.rankings.append(event["ranking"])
        if case.get("server") == "dying":
            servers.cut()
        elif "leaveAfter" not in case:
            for text in held[: len(seen.rankings)]:
                servers.judge.let_go(text)
    if "models" in event:
        seen.models = event["models"]
    if "end" in event:
        seen.end = event["end"]
        query = request.get("query", "")
        await asyncio.wait_for(servers.calls.over(query), _PATIENCE)
        for text in held:
            servers.judge.let_go(text)
        seen.attempts = servers.calls.begun[query]
        asked = servers.judge.asked
        seen.asked = {text: asked[query, text] for text in case["expect"].get("asked", ())}


def ranking_of(said: Mapping[str, Any]) -> pb.RerankResponse:
    """Read a ranking. A value that the proto does not know becomes -1, and no usage an empty one.

    Clients that have types of their own cannot tell these apart.
    """
    ranking = json_format.ParseDict(dict(said), pb.RerankResponse())
    ranking.usage.SetInParent()
    for result in ranking.results:
        if result.source not in pb.ScoreSource.values():
            result.source = -1  # type: ignore[assignment]
        if result.unscored_reason not in pb.UnscoredReason.values():
            result.unscored_reason = -1  # type: ignore[assignment]
        if result.unscored_detail not in pb.UnscoredDetail.values():
            result.unscored_detail = -1  # type: ignore[assignment]
    return ranking


def models_of(said: Mapping[str, Any]) -> pb.ListModelsResponse:
    """Read a list of models."""
    return json_format.ParseDict(dict(said), pb.ListModelsResponse())


def expected_rankings(case: Mapping[str, Any]) -> list[pb.RerankResponse]:
    """Give what the case says, with runs of results written out."""
    return [
        ranking_of(
            {key: value for key, value in ranking.items() if key != "runs"}
            | {"results": [*ranking.get("results", []), *_results(case, ranking.get("runs", []))]}
        )
        for ranking in case["expect"].get("rankings", [])
    ]


def _results(
    case: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Write out each run: the generated documents from `from` on in steps of `every`, alike."""
    results = []
    for run in runs:
        alike = {key: value for key, value in run.items() if key not in ("from", "every")}
        for n in range(run["from"], case["generate"]["count"], run["every"]):
            document = generated(n, case["generate"]["characters"])
            with_document = case["request"].get("returnDocuments")
            results.append(
                {"index": n, "id": str(n)}
                | alike
                | ({"document": document} if with_document else {})
            )
    return results


def generated(n: int, characters: int) -> Mapping[str, str]:
    """Give the document that README.md here says for position `n`."""
    return {"id": str(n), "text": f"{n % 11} document".ljust(characters, ".")}
