"""Quality against cost, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rerankd_server.evaluation.axis import cost_axis
from rerankd_server.evaluation.evaluate import Evaluation
from rerankd_server.evaluation.measures import NDCG

_INCHES = (8.0, 5.0)
_DPI = 150
_SIDES = 0.05, 0.05
"""Shares of the cost axis that stay free on the left and on the right."""
_FONT = 10.0
_LETTER, _LINE = 0.6 * _FONT, 1.3 * _FONT
"""How wide a letter is, about, and how high a line; all in points."""
_LONGEST_NAME = 45

Point = tuple[float, float]


def draw(evaluations: Sequence[Evaluation], title: str, file: Path) -> None:
    """Write a PNG: a point for each model, its name beside it, and a bar for how sure its mean is.

    Raises OSError where the file cannot be written.
    """
    axis = cost_axis(evaluations)
    points = [
        (axis.place(cost), each.mean(NDCG))
        for each, cost in zip(evaluations, axis.costs, strict=True)
    ]
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for number, (each, (x, y)) in enumerate(zip(evaluations, points, strict=True)):
        axes.errorbar(x, y, yerr=each.margin, fmt="o", capsize=4, elinewidth=1, color=f"C{number}")
    farthest = axis.place(max(axis.costs))
    left, right = (share * (farthest or 1) for share in _SIDES)
    axes.set_xlim(-left, farthest + right)
    axes.set_xticks([axis.place(tick) for tick in axis.ticks], [*map(axis.text, axis.ticks)])
    axes.set_xlabel(axis.label)
    axes.set_ylabel(f"mean {NDCG}, with its 95 % interval")
    axes.set_title(title, parse_math=False, fontsize=_FONT)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.draw_without_rendering()  # lays everything out: only then is it known what is near what
    _write_names(axes, points, [shorten(each.model) for each in evaluations])
    figure.savefig(file, format="png")


def shorten(name: str) -> str:
    """Cut a name that is too long for half the picture."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _write_names(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    """Write each name beside its point, or lower where another name stands there already.

    Points on the right have their names on the left, so that they stay inside.
    """
    pixels = _DPI / 72
    middle = sum(axes.get_xlim()) / 2
    written: list[tuple[float, float, float]] = []
    for number, (point, name) in enumerate(zip(points, names, strict=True)):
        x, y = (float(value) / pixels for value in axes.transData.transform(point))
        is_left = point[0] > middle
        width = _LETTER * len(name)
        start, end, lowered = (x - width, x, y) if is_left else (x, x + width, y)
        for other_start, other_end, other_y in written:
            if start < other_end and other_start < end and abs(lowered - other_y) < _LINE:
                lowered = other_y - _LINE
        written.append((start, end, lowered))
        label = axes.annotate(
            name,
            point,
            xytext=(-9 if is_left else 9, 5 + lowered - y),
            textcoords="offset points",
            ha="right" if is_left else "left",
            fontsize=_FONT,
            color=f"C{number}",
            parse_math=False,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )
        label.set_in_layout(False)
