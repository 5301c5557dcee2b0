"""Measures every way of scoring on real queries, with a recorded model: see `bench.recorded`."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.curve import Curve
from bench.recorded import EMBEDDINGS, INTEGERS, MODELS, PROBABILITIES, Recorded
from rerankd import AsyncClient
from rerankd_server.evaluation.collection import Collection
from rerankd_server.evaluation.evaluate import Evaluation, evaluate
from rerankd_server.evaluation.measures import NDCG
from rerankd_server.evaluation.reading import Files, read_collection
from support.provider import fake_provider
from support.server import running

SHUFFLES = 20
_TOP_K = (5, 10, 15, 20, 25, 30, 40, 50)
_RELEVANT = 2
"""The least label that counts as relevant, as the TREC Deep Learning tasks have it."""
_PRICES = {
    **{model: {"prompt": 0.15, "completion": 0.60} for model in MODELS},
    EMBEDDINGS: {"prompt": 0.02},
}
"""gpt-4o-mini's, and text-embedding-3-small's."""

LEAVES: Mapping[str, Any] = {
    "pointwise": {"kind": "pointwise", "model": PROBABILITIES},
    "integers": {"kind": "pointwise", "model": INTEGERS},
    "batched": {"kind": "batched", "model": PROBABILITIES, "documents": 10},
    "batched integers": {"kind": "batched", "model": INTEGERS, "documents": 10},
    "embeddings": {"kind": "embeddings", "model": EMBEDDINGS},
}
COMBINATIONS: Mapping[str, Any] = {
    "blend": {"kind": "blend", "scores": "pointwise", "prior": "embeddings"},
    "integers blend": {"kind": "blend", "scores": "integers", "prior": "embeddings"},
    "mean": {"kind": "mean", "of": ["pointwise", "embeddings"], "weights": [4, 1]},
    "cascade": {"kind": "cascade", "cheap": "embeddings", "careful": "pointwise", "top_k": 20},
    "cheap cascade": {"kind": "cascade", "cheap": "embeddings", "careful": "batched", "top_k": 20},
}
GATES: Mapping[str, Any] = {
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
        cheap = self.evaluations[GATES[recipe]["cheap"]].costs.pairs
        careful = self.evaluations[recipe].costs.pairs - cheap
        return careful / self.evaluations["pointwise"].costs.pairs

    def curve(self, cheap: str) -> Curve:
        """Give what cascades behind `cheap` reach for their calls."""
        recipes = [f"{cheap} {k}" for k in _TOP_K]
        points = [(self.calls(recipe), self.share(recipe)) for recipe in recipes]
        return Curve(f"{self.name}, {cheap} first", points)


async def measure_all(files: Sequence[Path]) -> Sequence[Measured]:
    recorded = Recorded(files)
    recipes = {**LEAVES, **COMBINATIONS, **GATES}
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
    names = [*LEAVES, "lexical", *COMBINATIONS, *GATES]
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
        for seed in range(SHUFFLES)
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
