"""Draws what cascades reach for their calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares of the calls, and shares of the quality that they reach."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_curves(
    curves: Sequence[Curve], most_calls: float, least_quality: float, file: Path
) -> None:
    """Write a PNG, with the corner in which a cascade has to have a point."""
    figure = Figure(figsize=(8.0, 5.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        calls, quality = zip(*curve.points, strict=True)
        axes.plot(calls, quality, marker="o", label=curve.name)
    top = axes.get_ylim()[1]
    axes.fill_between([0, most_calls], least_quality, top, color="C2", alpha=0.12)
    axes.text(0.01, top, " at least 0.99, for at most 45 %", va="top", color="C2")
    axes.set_xlim(0, None)
    axes.set_ylim(None, top)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("calls to the model, of one for each passage")
    axes.set_ylabel("nDCG@10, of the model on every passage")
    axes.set_title("A cheap recipe first, the model for the top k", fontsize=10)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="png")
