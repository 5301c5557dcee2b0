"""Quality against cost in plain characters, for any terminal."""

from collections.abc import Sequence

from rerankd_server.evaluation.axis import cost_axis
from rerankd_server.evaluation.evaluate import Evaluation
from rerankd_server.evaluation.measures import NDCG

_ROWS = 11
_ROWS_A_TICK = 5
_LEFT = 7
"""Characters that the quality axis takes."""
_RIGHT = 6
"""Characters that stay free on the right."""
_WIDTHS = 50, 80
_LEAST_SPAN = 0.02
"""Of nDCG, from the highest row to the lowest."""


def sketch(evaluations: Sequence[Evaluation], width: int) -> str:
    """Draw each model as its number, from 1; `width` characters wide, within 50 and 80."""
    axis = cost_axis(evaluations)
    columns = min(max(width, _WIDTHS[0]), _WIDTHS[1]) - _LEFT
    qualities = [each.mean(NDCG) for each in evaluations]
    span = max(_LEAST_SPAN, max(qualities) - min(qualities))
    top = max(span, (max(qualities) + min(qualities) + span) / 2)
    rightmost = axis.place(max(axis.costs)) or 1.0

    def column(cost: float) -> int:
        return round(axis.place(cost) / rightmost * (columns - _RIGHT))

    rows = [[" "] * columns for _ in range(_ROWS)]
    for number, (quality, cost) in enumerate(zip(qualities, axis.costs, strict=True), 1):
        row = round((top - quality) / span * (_ROWS - 1))
        _write(rows[row], column(cost), str(number))
    ticks = [" "] * columns
    for tick in axis.ticks:
        _write(ticks, column(tick), axis.text(tick))
    lines = [f"mean {NDCG}"]
    for place, row_cells in enumerate(rows):
        value = "" if place % _ROWS_A_TICK else f"{top - span * place / (_ROWS - 1):.3f}"
        lines.append(f"{value:>{_LEFT - 2}} |{''.join(row_cells)}")
    lines.append(f"{'+':>{_LEFT}}{'-' * columns}")
    lines.append(" " * _LEFT + "".join(ticks))
    lines.append(" " * _LEFT + f"{axis.label:^{columns}}")
    return "\n".join(line.rstrip() for line in lines)


def _write(cells: list[str], column: int, text: str) -> None:
    """Put a text where it belongs, or as near on its right as is free; else nowhere."""
    for start in range(column, len(cells) - len(text) + 1):
        if all(cell == " " for cell in cells[max(0, start - 1) : start + len(text) + 1]):
            cells[start : start + len(text)] = text
            return
