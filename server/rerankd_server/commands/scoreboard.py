"""Evaluations for people: how good, at what cost, and whether the difference is more than luck."""

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rerankd_server.commands.table import printable
from rerankd_server.evaluation.axis import cost_axis
from rerankd_server.evaluation.collection import Collection, counted
from rerankd_server.evaluation.costs import money
from rerankd_server.evaluation.evaluate import Evaluation
from rerankd_server.evaluation.measures import MRR, NDCG, RECALL
from rerankd_server.evaluation.significance import Comparison
from rerankd_server.evaluation.sketch import sketch


def scoreboard(
    collection: Collection,
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    relevant: int,
    width: int,
) -> RenderableType:
    """Draw everything, best model first; `width` is the terminal's, in characters."""
    parts: list[RenderableType] = [
        *(Text(line) for line in _about(collection, relevant)),
        Text(),
        _quality(evaluations),
        Text(),
        _spending(evaluations),
        Text(
            "Spent by this run, saved by the cache; the cost of 1,000 queries is of both. Calls "
            "that a deadline cut off count as saved.",
            style="dim",
        ),
    ]
    if unscored := sum(each.costs.unscored_pairs for each in evaluations):
        parts.append(
            Text(
                f"{counted(unscored, 'pair has', 'pairs have')} no score: without one, a document "
                "comes last. Run again to ask for them again.",
                style="yellow",
            )
        )
    if comparisons:
        parts += [Text(), _significance(evaluations, comparisons)]
        parts.append(
            Text(
                f"Two-sided paired randomization tests of {NDCG} over "
                f"{counted(len(collection.queries), 'query', 'queries')} (Smucker, Allan and "
                "Carterette 2007)"
                + (", Holm-corrected for all pairs." if len(comparisons) > 1 else "."),
                style="dim",
            )
        )
        parts += [Text(), Text(sketch(evaluations, width), no_wrap=True)]
    return Group(*parts)


def _about(collection: Collection, relevant: int) -> Iterator[str]:
    candidates = sum(len(query.candidates) for query in collection.queries)
    yield printable(collection.name)
    yield (
        f"{counted(len(collection.queries), 'query', 'queries')}, "
        f"{counted(candidates, 'candidate', 'candidates')}; "
        f"relevant from label {relevant} on ({MRR}, {RECALL})"
    )
    yield from map(printable, collection.notes)


def _quality(evaluations: Sequence[Evaluation]) -> Table:
    axis = cost_axis(evaluations)
    table = _table("", "model", NDCG, "", MRR, RECALL, axis.unit.replace(" per ", " per\n"))
    for place, (each, cost) in enumerate(zip(evaluations, axis.costs, strict=True), 1):
        table.add_row(
            str(place),
            _name(each.model),
            f"{each.mean(NDCG):.3f}",
            "" if each.margin is None else f"±{each.margin:.3f}",
            f"{each.mean(MRR):.3f}",
            f"{each.mean(RECALL):.3f}",
            axis.text(cost),
        )
    return table


def _spending(evaluations: Sequence[Evaluation]) -> Table:
    table = _table(
        *("", "spent", "saved", "calls", "tokens", "pairs", "cached", "no score"),
        *("seconds", "median"),
    )
    for place, each in enumerate(evaluations, 1):
        costs = each.costs
        table.add_row(
            str(place),
            money(costs.spent_usd),
            money(costs.saved_usd),
            f"{costs.model_calls:,}",
            f"{costs.tokens:,}",
            f"{costs.pairs:,}",
            f"{costs.cached_pairs:,}",
            f"{costs.unscored_pairs:,}",
            f"{each.seconds:,.1f}",
            f"{each.median_seconds:,.3f}",
        )
    return table


def _significance(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> Table:
    table = _table("", "model", "behind the best by", "p")
    for place, (each, comparison) in enumerate(zip(evaluations[1:], comparisons, strict=True), 2):
        table.add_row(
            str(place),
            _name(each.model),
            f"{comparison.difference:.3f}",
            f"{comparison.p_value:.4f}",
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(
            name,
            justify="left" if name == "model" else "right",
            overflow="fold" if name == "model" else "ellipsis",
        )
    return table


def _name(model: str) -> Text:
    return Text(printable(model))


def show(console: Console, drawn: RenderableType) -> None:
    """Print what was drawn, its words as they are."""
    console.print(drawn, highlight=False, markup=False)
