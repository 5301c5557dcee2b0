"""Draws what warm calls take: a panel for each length of the documents."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.figures import Warm
from bench.systems import DISK, FLOOR, NAIVE, SAME, SHUFFLED, UVLOOP

_STYLES = {
    FLOOR: ("0.4", "--"),
    UVLOOP: ("0.7", "--"),
    SAME: ("C2", "-"),
    SHUFFLED: ("C0", "-"),
    DISK: ("C1", "-"),
    NAIVE: ("C3", ":"),
}


def draw_warm(figures: Sequence[Warm], file: Path) -> None:
    """Write a PNG: the median call against the number of documents, both logarithmic."""
    lengths = sorted({each.characters for each in figures})
    figure = Figure(figsize=(4.0 * len(lengths), 4.2), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for axes, characters in zip(panels, lengths, strict=True):
        for system, (colour, line) in _STYLES.items():
            points = sorted(
                (each.documents, each.p50)
                for each in figures
                if (each.characters, each.system) == (characters, system)
            )
            documents, times = zip(*points, strict=True)
            axes.plot(documents, times, line, color=colour, marker="o", ms=3, label=system)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_title(f"documents of {characters:,} characters", fontsize=10)
        axes.set_xlabel("documents in a call")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("median of a warm call, ms")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(file, format="png")
