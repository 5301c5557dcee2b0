"""What a benchmark says: rows of one table."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress
from rich.text import Text

REACHED = {
    True: Text("yes", style="green"),
    False: Text("no", style="red"),
    None: Text(""),
}
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured."""

    what: str
    reach: str
    measured: str
    reached: bool | None = None
    """None where it is only told."""


Bench = Callable[[Path, Progress], Awaitable[Sequence[Row]]]
"""Measures in an empty folder, and shows how far it is."""


def sparkline(values: Sequence[float]) -> str:
    """Draw `values` in a line, from 0 to the largest."""
    top = max(values)
    return "".join(_BLOCKS[round(value / top * (len(_BLOCKS) - 1))] for value in values)
