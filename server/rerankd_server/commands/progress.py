"""How far an evaluation is, and what it has spent, while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rerankd_server.commands.table import printable
from rerankd_server.evaluation.asking import Answer
from rerankd_server.evaluation.costs import Costs, money
from rerankd_server.evaluation.evaluate import OnAnswer


@contextmanager
def progress(total: int, console: Console) -> Iterator[OnAnswer]:
    """Draw a bar of `total` queries, where `console` is a terminal; gives what counts an answer."""
    costs = Costs()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("queries, ready in"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[spent]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as drawn:
        task = drawn.add_task("", total=total, spent="")

        def on_answer(model: str, answer: Answer) -> None:
            nonlocal costs
            costs += answer.costs
            spent = "" if costs.spent_usd is None else f"{money(costs.spent_usd)} spent"
            drawn.update(task, advance=1, description=printable(model), spent=spent)

        yield on_answer
