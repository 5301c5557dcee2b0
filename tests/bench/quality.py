"""Measures ways of scoring on real queries, and writes docs/quality.md: `python -m bench.quality`.

The model is a recording: see `bench.recorded`. Nothing leaves this machine.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.curve import Curve, draw_curves
from bench.recorded import EMBEDDINGS, INTEGERS, MODELS, PROBABILITIES, Recorded
from rerankd import AsyncClient
from rerankd_server.evaluation.collection import Collection
from rerankd_server.evaluation.costs import money
from rerankd_server.evaluation.evaluate import Evaluation, evaluate
from rerankd_server.evaluation.measures import MRR, NDCG
from rerankd_server.evaluation.plot import draw
from rerankd_server.evaluation.reading import Files, read_collection
from rerankd_server.logs import configure_logs
from support.provider import fake_provider
from support.server import running
from support.trec import FOLDER

_DOCS = Path(__file__).parents[2] / "docs"
_SETS = ("dl19", "dl20")
_SHUFFLES = 20
_TOP_K = (5, 10, 15, 20, 25, 30, 40, 50)
_RANDOM = "integers, random ties"
_RELEVANT = 2
"""The least label that counts as relevant, as the TREC Deep Learning tasks have it."""
_MOST_CALLS, _LEAST_QUALITY, _MOST_TOKENS = 0.45, 0.99, 0.45
_PRICES = {
    **{model: {"prompt": 0.15, "completion": 0.60} for model in MODELS},
    EMBEDDINGS: {"prompt": 0.02},
}
"""gpt-4o-mini's, and text-embedding-3-small's."""

_LEAVES: Mapping[str, Any] = {
    "pointwise": {"kind": "pointwise", "model": PROBABILITIES},
    "integers": {"kind": "pointwise", "model": INTEGERS},
    "batched": {"kind": "batched", "model": PROBABILITIES, "documents": 10},
    "batched integers": {"kind": "batched", "model": INTEGERS, "documents": 10},
    "embeddings": {"kind": "embeddings", "model": EMBEDDINGS},
}
_COMBINATIONS: Mapping[str, Any] = {
    "blend": {"kind": "blend", "scores": "pointwise", "prior": "embeddings"},
    "integers blend": {"kind": "blend", "scores": "integers", "prior": "embeddings"},
    "mean": {"kind": "mean", "of": ["pointwise", "embeddings"], "weights": [4, 1]},
    "cascade": {"kind": "cascade", "cheap": "embeddings", "careful": "pointwise", "top_k": 20},
    "cheap cascade": {"kind": "cascade", "cheap": "embeddings", "careful": "batched", "top_k": 20},
}
_DRAWN = ("pointwise", "batched", "cascade", "cheap cascade", "embeddings", "lexical")
_GATES: Mapping[str, Any] = {
    f"{cheap} {k}": {"kind": "cascade", "cheap": cheap, "careful": "pointwise", "top_k": k}
    for cheap in ("embeddings", "lexical")
    for k in _TOP_K
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one set of queries says of every recipe."""

    name: str
    collection: Collection
    evaluations: Mapping[str, Evaluation]
    """By recipe, in the order in which they were measured: leaves first."""
    random_ties: float
    """The mean nDCG@10 of integers, where chance decides among equal ones."""

    def quality(self, recipe: str) -> float:
        """Give a recipe's mean nDCG@10."""
        return self.evaluations[recipe].mean(NDCG)

    def share(self, recipe: str) -> float:
        """Give a recipe's nDCG@10 as a share of that of the model's on everything."""
        return self.quality(recipe) / self.quality("pointwise")

    def calls(self, recipe: str) -> float:
        """Give the share of the model's calls that a cascade needs, with nothing cached."""
        cheap = self.evaluations[_GATES[recipe]["cheap"]].costs.pairs
        careful = self.evaluations[recipe].costs.pairs - cheap
        return careful / self.evaluations["pointwise"].costs.pairs

    def curve(self, cheap: str) -> Curve:
        """Give what cascades behind `cheap` reach for their calls."""
        recipes = [f"{cheap} {k}" for k in _TOP_K]
        points = [(self.calls(recipe), self.share(recipe)) for recipe in recipes]
        return Curve(f"{self.name}, {cheap} first", points)


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached, and what is, on each set."""

    what: str
    measured: Sequence[str]
    reached: bool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=FOLDER, help="holds dl19.jsonl.gz, ...")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="where quality.md goes")
    options = parser.parse_args()
    files = [options.data / f"{name}.jsonl.gz" for name in _SETS]
    if missing := [file for file in files if not file.exists()]:
        parser.error(f"{missing[0]} is not there; set RERANKD_TREC_DIR to where it is")
    configure_logs("console", "warning")
    sets = asyncio.run(_measure_all(files))
    targets = _targets(sets)
    options.docs.mkdir(exist_ok=True)
    for each in sets:
        shown = [each.evaluations[name] for name in _DRAWN]
        title = f"{each.name}: {len(each.collection.queries)} queries, a recorded model"
        draw(shown, title, options.docs / f"quality-{each.name}.png")
    curves = [each.curve(cheap) for each in sets for cheap in ("embeddings", "lexical")]
    draw_curves(curves, _MOST_CALLS, _LEAST_QUALITY, options.docs / "cascade.png")
    (options.docs / "quality.md").write_text(page(sets, targets), encoding="utf-8")
    console = Console(highlight=False)
    for target in targets:
        reached = "[green]reached[/]" if target.reached else "[red]not reached[/]"
        console.print(f"{reached}: {target.what}: {', '.join(target.measured)}")
    return 0 if all(target.reached for target in targets) else 1


async def _measure_all(files: Sequence[Path]) -> Sequence[Measured]:
    recorded = Recorded(files)
    recipes = {**_LEAVES, **_COMBINATIONS, **_GATES}
    with tempfile.TemporaryDirectory(prefix="rerankd-quality-") as folder:
        async with fake_provider(recorded.answer) as provider:
            provider.embed = recorded.embed
            settings = {"base_url": provider.base_url, "recipes": recipes, "prices": _PRICES}
            async with (
                running(Path(folder), model="pointwise", **settings) as app,
                AsyncClient(app.address) as client,
            ):
                return [await _measure(client, file) for file in files]


async def _measure(client: AsyncClient, file: Path) -> Measured:
    collection = read_collection(Files(file))
    name = file.name.partition(".")[0]
    names = [*_LEAVES, "lexical", *_COMBINATIONS, *_GATES]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=len(names) * len(collection.queries))

        def advance(*_: object) -> None:
            progress.advance(task)

        evaluations = {
            model: (
                await evaluate(client, collection, [model], relevant=_RELEVANT, on_answer=advance)
            )[0]
            for model in names
        }
    shuffled = [
        (await evaluate(client, _shuffled(collection, seed), ["integers"]))[0].mean(NDCG)
        for seed in range(_SHUFFLES)
    ]
    return Measured(name, collection, evaluations, statistics.fmean(shuffled))


def _shuffled(collection: Collection, seed: int) -> Collection:
    """Take the first stage's order away: ties keep the request's order."""
    random = Random(seed)  # no secret
    queries = [
        replace(query, candidates=random.sample(query.candidates, len(query.candidates)))
        for query in collection.queries
    ]
    return replace(collection, queries=queries)


def _targets(sets: Sequence[Measured]) -> Sequence[Target]:
    tokens = [_tokens(each) for each in sets]
    orders = [
        [answer.order for answer in each.evaluations[recipe].answers]
        for each in sets
        for recipe in ("pointwise", "batched", "integers", "batched integers")
    ]
    calls = [_calls_of_combinations(each) for each in sets]
    return [
        Target(
            "expected values with ties as in the first stage: at least integers with random ties",
            [f"{each.quality('pointwise'):.4f} to {each.random_ties:.4f}" for each in sets],
            all(each.quality("pointwise") >= each.random_ties for each in sets),
        ),
        Target(
            f"a cascade: at most {_MOST_CALLS:.0%} of the model's calls, and no less than "
            f"{_LEAST_QUALITY} of the nDCG@10 of scoring everything (the 20 nearest)",
            [
                f"{each.calls('embeddings 20'):.0%} for {each.share('embeddings 20'):.3f}"
                for each in sets
            ],
            all(
                each.calls("embeddings 20") <= _MOST_CALLS
                and each.share("embeddings 20") >= _LEAST_QUALITY
                for each in sets
            ),
        ),
        Target(
            f"batched, ten a prompt: at most {_MOST_TOKENS:.0%} of pointwise's prompt tokens",
            [f"{share:.1%}" for share in tokens],
            max(tokens) <= _MOST_TOKENS,
        ),
        Target(
            "batched: the ranking that pointwise gives, from a judge who judges equally",
            ["the same" if orders[4 * i] == orders[4 * i + 1] else "another" for i in (0, 1)],
            all(one == other for one, other in zip(orders[::2], orders[1::2], strict=True)),
        ),
        Target(
            "combinations of cached leaves: no call",
            [f"{count:,}" for count in calls],
            not any(calls),
        ),
    ]


def _tokens(each: Measured) -> float:
    """Give the batched recipe's prompt tokens as a share of the pointwise one's."""
    batched, pointwise = (each.evaluations[name] for name in ("batched", "pointwise"))
    return batched.costs.full_prompt_tokens / pointwise.costs.full_prompt_tokens


def _calls_of_combinations(each: Measured) -> int:
    return sum(each.evaluations[name].costs.model_calls for name in (*_COMBINATIONS, *_GATES))


def page(sets: Sequence[Measured], targets: Sequence[Target]) -> str:
    """Write docs/quality.md."""
    names = ", ".join(f"`{each.name}` ({len(each.collection.queries)} queries)" for each in sets)
    return _PAGE.format(
        sets=names,
        targets="\n".join(
            f"| {target.what} | {' | '.join(target.measured)} | "
            f"{'yes' if target.reached else '**no**'} |"
            for target in targets
        ),
        columns=" | ".join(each.name for each in sets),
        lines=" | ".join("---" for _ in sets),
        recipes="\n\n".join(map(_recipes, sets)),
        headers=" | ".join(f"{each.name}: calls | nDCG@10" for each in sets),
        rules=" | ".join("--- | ---" for _ in sets),
        curve="\n".join(_curve(sets)),
        shuffles=_SHUFFLES,
    )


def _recipes(each: Measured) -> str:
    """Write a set's table, the best ranking first."""
    shown = [*_LEAVES, "lexical", *_COMBINATIONS]
    qualities = {name: each.quality(name) for name in shown}
    reciprocals = {name: f"{each.evaluations[name].mean(MRR):.3f}" for name in shown}
    dollars = {name: _dollars(each.evaluations[name]) for name in shown}
    qualities[_RANDOM], dollars[_RANDOM] = each.random_ties, dollars["integers"]
    table = "\n".join(
        f"| {name} | {quality:.3f} | {quality / qualities['pointwise']:.1%} "
        f"| {reciprocals.get(name, '')} | {dollars[name]} |"
        for name, quality in sorted(qualities.items(), key=lambda item: -item[1])
    )
    return (
        f"### {each.name}\n\n"
        "| recipe | nDCG@10 | of pointwise | MRR@10 | dollars for 1,000 queries |\n"
        f"| --- | --- | --- | --- | --- |\n{table}\n\n"
        f"![quality against cost on {each.name}](quality-{each.name}.png)"
    )


def _dollars(evaluation: Evaluation) -> str:
    cost = evaluation.costs.full_usd
    return money(None if cost is None else 1000 * cost / len(evaluation.answers))


def _curve(sets: Sequence[Measured]) -> Iterator[str]:
    for name, gate in _GATES.items():
        cells = " | ".join(f"{each.calls(name):.0%} | {each.share(name):.3f}" for each in sets)
        yield f"| {gate['cheap']} | {gate['top_k']} | {cells} |"


_PAGE = """\
# How good, for how much

What each way of scoring is worth on real queries, written by `make quality`. Change nothing here by
hand.

**The data**: {sets}, the TREC Deep Learning passage
tasks of 2019 and 2020: about 75 passages a query, judged by people. Only passages that a model judged too are here, so compare the figures with
each other, never with a paper's. They are MS MARCO's, for non-commercial research, and not part of
rerankd: `RERANKD_TREC_DIR` says where they are.

**The model** is a recording of what a Llama 3 model judged, replayed by a server on this machine.
`pointwise` and `batched` get its judgements with log-probabilities, `integers` rounded to labels;
batched prompts get the same judgements, so what neighbours do to a real model's judgement does not
show here. `embeddings` order passages as Contriever did; those outside its first 100 count as least
near. Tokens are counted as 4 bytes each; prices are gpt-4o-mini's and text-embedding-3-small's.

## What was to be reached

| what | {columns} | reached |
| --- | {lines} | --- |
{targets}

Random ties are a mean over {shuffles} shuffles of the candidates.

## Recipes

Dollars are those of a first run: asked again, all of it comes from the cache and costs nothing.

{recipes}

## A cascade's curve

The share of the model's calls that is left, with nothing cached, and the nDCG@10 that is reached,
as a share of that of the model on everything.

| cheap recipe | top_k | {headers} |
| --- | --- | {rules} |
{curve}

![what a cascade reaches for its calls](cascade.png)

Embeddings find the promising passages: the model may read a quarter of them and rank as well, or
better, for what embeddings put far down is seldom relevant, whatever the model says of it. Shared
words find them much less well: with `lexical` first, half of the calls cost a few percent.
"""


if __name__ == "__main__":
    sys.exit(main())
