"""Writes docs/quality.md."""

from collections.abc import Iterator, Sequence

from bench.measured import COMBINATIONS, GATES, LEAVES, SHUFFLES, Measured
from bench.targets import Target
from rerankd_server.evaluation.costs import money
from rerankd_server.evaluation.evaluate import Evaluation
from rerankd_server.evaluation.measures import MRR

_RANDOM = "integers, random ties"


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
        shuffles=SHUFFLES,
    )


def _recipes(each: Measured) -> str:
    """Write a set's table, the best ranking first."""
    shown = [*LEAVES, "lexical", *COMBINATIONS]
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
    for name, gate in GATES.items():
        cells = " | ".join(f"{each.calls(name):.0%} | {each.share(name):.3f}" for each in sets)
        yield f"| {gate['cheap']} | {gate['top_k']} | {cells} |"


_PAGE = """\
# How good, for how much

What each way of scoring is worth on real queries, written by `make quality`. Change nothing here by
hand.

**The data**: {sets}, the TREC Deep Learning passage
tasks of 2019 and 2020: about 75 passages a query, judged by people. Only passages that a model
judged too are here, so compare the figures with each other, never with a paper's. They are
MS MARCO's, for non-commercial research, and not part of rerankd: `RERANKD_TREC_DIR` says where they
are.

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
