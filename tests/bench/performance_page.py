"""Writes docs/performance.md."""

from collections.abc import Callable, Iterator, Sequence

from bench.blocks import SHOWN
from bench.figures import Warm, saved, saved_warm
from bench.performance_text import PAGE
from bench.systems import SYSTEMS

_BENCHES = ("warm", "peers", "stores", "held", "mixed")


def page(figures: Sequence[Warm]) -> str:
    """Write docs/performance.md."""
    (machine,) = saved("machine")
    return PAGE.format(
        **machine,
        targets="\n".join(_targets()),
        systems=" | ".join(SYSTEMS),
        lines=" | ".join("---" for _ in SYSTEMS),
        times=_by_shape(figures, lambda each: f"{each.p50:.2f} / {each.p99:.2f}"),
        rates=_by_shape(figures, _rate),
        costs=_by_shape(figures, lambda each: f"{each.server_us:.1f}"),
        memory=_memory(figures),
        callers=_callers(figures),
        peers="\n".join(_peers()),
        stores="\n".join(_stores()),
        sizes="\n".join(_sizes()),
        mixed=_told("mixed"),
        held=_told("held"),
    )


def _targets() -> Iterator[str]:
    for row in (row for name in _BENCHES for row in saved(f"rows-{name}")):
        if row["reached"] is not None:
            reached = "yes" if row["reached"] else "**no**"
            yield f"| {row['what']} | {row['reach']} | {row['measured']} | {reached} |"


def _told(name: str) -> str:
    """Write all that a benchmark says as a list."""
    return "\n".join(f"- {row['what']}: {row['measured']}" for row in saved(f"rows-{name}"))


def _by_shape(figures: Sequence[Warm], cell: Callable[[Warm], str]) -> str:
    """Write a line for each shape, with a cell for each system."""
    shapes = dict.fromkeys((each.characters, each.documents) for each in figures)
    lines = []
    for characters, documents in shapes:
        cells = {
            each.system: cell(each)
            for each in figures
            if (each.characters, each.documents) == (characters, documents)
        }
        row = " | ".join(cells[system] for system in SYSTEMS)
        lines.append(f"| {documents:,} | {characters:,} | {row} |")
    return "\n".join(lines)


def _rate(each: Warm) -> str:
    return f"{each.calls_per_second:,.0f} ({each.pairs_per_second:,.0f})"


def _memory(figures: Sequence[Warm]) -> str:
    return ", ".join(
        f"{system} {max(each.memory for each in figures if each.system == system):.0f} MiB"
        for system in SYSTEMS
    )


def _callers(figures: Sequence[Warm]) -> str:
    return ", ".join(
        f"{each.system} {each.caller_us:.0f}"
        for each in figures
        if (each.documents, each.characters) == (SHOWN.documents, SHOWN.characters)
    )


def _peers() -> Iterator[str]:
    for each in saved_warm("peers"):
        yield (
            f"| {each.system} | {each.p50:.2f} / {each.p99:.2f} | {each.calls_per_second:,.0f} "
            f"| {each.server_us * each.documents / 1000:.2f} | {each.memory:.0f} |"
        )


def _stores() -> Iterator[str]:
    for each in saved("growth"):
        yield (
            f"| {each['pairs']:,} | {each['open']:.0f} | {each['lookup']:.2f} "
            f"| {each['commit']:.2f} | {each['memory']:.0f} | {each['bytes']:.0f} |"
        )


def _sizes() -> Iterator[str]:
    for each in saved("sizes"):
        a_document = each["p50"] * 1000 / each["documents"]
        yield f"| {each['documents']:,} | {each['p50']:.2f} | {a_document:.1f} |"
