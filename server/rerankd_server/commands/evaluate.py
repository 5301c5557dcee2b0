"""`rerankd eval`: rank judged candidates, and say how good the rankings are for their money."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from rerankd import AsyncClient, RerankError
from rerankd_server.commands.failure import tell
from rerankd_server.commands.progress import progress
from rerankd_server.commands.scoreboard import scoreboard, show
from rerankd_server.evaluation.asking import EvaluationError
from rerankd_server.evaluation.collection import Collection
from rerankd_server.evaluation.costs import Costs
from rerankd_server.evaluation.evaluate import Evaluation, choose_models, evaluate
from rerankd_server.evaluation.lines import LARGEST_LABEL, CollectionError, is_folder
from rerankd_server.evaluation.measures import MEASURES, scored
from rerankd_server.evaluation.reading import Files, read_collection
from rerankd_server.evaluation.significance import Comparison, compare

_LONGEST_TIMEOUT = 1e6
_MOST_CONCURRENCY = 1000


class OptionError(Exception):
    """An option that cannot be meant; the message names it."""


def eval_(options: argparse.Namespace) -> int:
    """Run the command; gives the exit status."""
    try:
        _check(options)
        collection = read_collection(
            Files(
                options.source,
                options.queries,
                options.documents,
                options.qrels,
                options.run,
                options.depth,
                options.prior,
            )
        )
        if options.run_out is not None:
            _check_ids(collection)
        evaluations = asyncio.run(_evaluate(options, collection))
        _print(options, collection, evaluations, compare(evaluations))
        _write(options, collection, evaluations)
    except (CollectionError, EvaluationError, OptionError, RerankError) as error:
        return tell(error, options.address)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse, before anything is spent, what would fail afterwards. Raises OptionError."""
    for name, text in (("instruction", options.instruction), ("model", "".join(options.model))):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise OptionError(f"--{name}: is not UTF-8") from None
    if not 0 < options.timeout < _LONGEST_TIMEOUT:
        raise OptionError(f"--timeout: {options.timeout} is not a number of seconds to wait")
    if not 1 <= options.concurrency <= _MOST_CONCURRENCY:
        raise OptionError(
            f"--concurrency: {options.concurrency} is not from 1 to {_MOST_CONCURRENCY:,}"
        )
    if not 1 <= options.rel <= LARGEST_LABEL:
        raise OptionError(f"--rel: {options.rel} is not a label from 1 to {LARGEST_LABEL:,}")
    for name in ("plot", "run_out"):
        file: Path | None = getattr(options, name)
        if file is not None and (not is_folder(file.parent) or is_folder(file)):
            raise OptionError(f"--{name.replace('_', '-')}: no file can be written at {file}")


def _check_ids(collection: Collection) -> None:
    """Refuse ids that would take two columns of a run file. Raises OptionError."""
    for query in collection.queries:
        for identifier in (query.id, *(candidate.id for candidate in query.candidates)):
            if identifier.split() != [identifier]:
                raise OptionError(
                    f"--run-out: the id {identifier!r} holds white space, which separates a run's "
                    "columns; change the id"
                )


async def _evaluate(options: argparse.Namespace, collection: Collection) -> Sequence[Evaluation]:
    async with AsyncClient(options.address, timeout=options.timeout) as client:
        models = await choose_models(client, options.model)
        with progress(len(models) * len(collection.queries), Console(stderr=True)) as on_answer:
            return await evaluate(
                client,
                collection,
                models,
                instruction=options.instruction,
                relevant=options.rel,
                concurrency=options.concurrency,
                on_answer=on_answer,
            )


def _print(
    options: argparse.Namespace,
    collection: Collection,
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
) -> None:
    if options.json:
        print(json.dumps(_as_json(collection, evaluations, comparisons, options.rel)))
        return
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # it is a text file
    console = Console()
    show(console, scoreboard(collection, evaluations, comparisons, options.rel, console.width))


def _write(
    options: argparse.Namespace, collection: Collection, evaluations: Sequence[Evaluation]
) -> None:
    """Write the files that were asked for. Raises OptionError."""
    try:
        if options.run_out is not None:
            for each in evaluations:
                file = run_file(options.run_out, each.model, alone=len(evaluations) == 1)
                file.write_text("".join(run_lines(each)), encoding="utf-8")
        if options.plot is not None:
            from rerankd_server.evaluation.plot import draw  # noqa: PLC0415  # slow to load

            title = f"{Path(collection.name).resolve().name}, {len(collection.queries):,} queries"
            draw(evaluations, title, options.plot)
    except OSError as error:
        raise OptionError(f"{error.filename}: {error.strerror}") from None


def run_file(asked: Path, model: str, *, alone: bool) -> Path:
    """Give where a model's run goes: as asked, or beside that with the model in the name."""
    return (
        asked if alone else asked.with_name(f"{asked.stem}-{quote(model, safe='')}{asked.suffix}")
    )


def run_lines(evaluation: Evaluation) -> Iterator[str]:
    """Write rankings as a TREC run: whoever sorts by its scores gets the server's order."""
    tag = "".join(evaluation.model.split()) or "rerankd"
    for answer in evaluation.answers:
        for place, (position, score) in enumerate(scored(answer.order), 1):
            document = answer.query.candidates[position].id
            yield f"{answer.query.id} Q0 {document} {place} {score:.0f} {tag}\n"


def _as_json(
    collection: Collection,
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    relevant: int,
) -> dict[str, Any]:
    return {
        "collection": collection.name,
        "notes": list(collection.notes),
        "relevant_from_label": relevant,
        "models": [
            {
                "model": each.model,
                "measures": {name: each.mean(name) for name in MEASURES},
                "ndcg_margin_95": each.margin,
                "costs": _costs(each.costs),
                "seconds": each.seconds,
                "median_seconds": each.median_seconds,
                "queries": [
                    {
                        "qid": answer.query.id,
                        "measures": dict(quality),
                        "costs": _costs(answer.costs),
                        "seconds": answer.seconds,
                    }
                    for answer, quality in zip(each.answers, each.qualities, strict=True)
                ],
            }
            for each in evaluations
        ],
        "comparisons": [
            {name: getattr(each, name) for name in each.__slots__} for each in comparisons
        ],
    }


def _costs(costs: Costs) -> dict[str, float | None]:
    return {name: getattr(costs, name) for name in costs.__slots__} | {"saved_usd": costs.saved_usd}
