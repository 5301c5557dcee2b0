"""Warm calls of many shapes: rerankd beside the least that a call can cost, and a naive loop."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.progress import Progress

from bench.blocks import BLOCKS, SHOWN, Calls, Measuring
from bench.figures import Warm, save
from bench.machine import this_machine
from bench.processes import child
from bench.row import Bench, Row
from bench.systems import DISK, FLOOR, NAIVE, SAME, SHUFFLED, UVLOOP, fill, started
from bench.wire import Shape

_SHAPES = [Shape(count, length) for length in (100, 750, 4000) for count in (1, 20, 100, 1000)]
_MOST_SHUFFLED, _MOST_SAME, _MOST_DISK = 1.3, 1.15, 1.8
"""Times the floor, at the median, with one caller."""
_LEAST_RATE = 0.75
"""Of the floor's calls a second, with 16 callers."""


async def warm(
    shapes: Sequence[Shape], blocks: int, folder: Path, progress: Progress
) -> Sequence[Row]:
    """Measure all shapes, a block of each after each start, and judge one.

    Every start is another: where a process's memory happens to lie makes up to a sixth.
    """
    shown = progress.add_task("warm: filling the store", total=len(shapes) * blocks)
    await fill(folder, {shape: Calls.of(shape).stocked for shape in shapes})
    measurings = [Measuring({}, shape, Calls.of(shape), FLOOR) for shape in shapes]
    for block in range(blocks):
        progress.update(shown, description="warm: starting")
        async with (
            started(folder, shapes) as systems,
            child("caller") as one,
            child("caller") as many,
        ):
            for measuring in measurings:
                progress.update(shown, description=f"warm: {measuring.shape}")
                measuring.systems = systems
                await measuring.warm_up(one)
                await measuring.block(one, many, block)
                progress.advance(shown)
    figures = [each for measuring in measurings for each in measuring.figures()]
    progress.remove_task(shown)
    save("warm" if len(shapes) > 1 else "warm-quickly", figures)
    save("machine", [this_machine()])
    return _rows({f.system: f for f in figures if Shape(f.documents, f.characters) == SHOWN})


WARM: Bench = partial(warm, _SHAPES, BLOCKS)
WARM_QUICKLY: Bench = partial(warm, [SHOWN], 3)


def _rows(by_system: Mapping[str, Warm]) -> Sequence[Row]:
    floor = by_system[FLOOR]
    most = {SHUFFLED: _MOST_SHUFFLED, SAME: _MOST_SAME, DISK: _MOST_DISK}
    rows = [
        _time(figures, floor, most.get(name))
        for name, figures in by_system.items()
        if name != FLOOR
    ]
    rows += [_rate(by_system[SHUFFLED], floor, _LEAST_RATE)]
    rows += [_rate(by_system[name], floor) for name in (UVLOOP, SAME, DISK, NAIVE)]
    return [
        *rows,
        _told("the server's µs of processor time a pair", by_system, lambda each: each.server_us),
        _told("the callers' µs of processor time a call", by_system, lambda each: each.caller_us),
        _told("MiB of memory, after all of that", by_system, lambda each: each.memory),
    ]


def _time(figures: Warm, floor: Warm, most: float | None = None) -> Row:
    ratio = figures.time_ratio
    return Row(
        f"{SHOWN} characters, {figures.system}: p50",
        f"at most {most} x the floor" if most else "",
        f"{ratio} x, {figures.p50:.2f} ms to {floor.p50:.2f} ms, p99 {figures.p99:.2f} ms",
        None if most is None else ratio.middle <= most,
    )


def _rate(figures: Warm, floor: Warm, least: float | None = None) -> Row:
    ratio, rates = figures.rate_ratio, (figures.calls_per_second, floor.calls_per_second)
    return Row(
        f"16 callers, {figures.system}: calls a second",
        f"at least {least} of the floor's" if least else "",
        f"{ratio} of it, {rates[0]:,.0f} to {rates[1]:,.0f}",
        None if least is None else ratio.middle >= least,
    )


def _told(what: str, by_system: Mapping[str, Warm], figure: Callable[[Warm], float]) -> Row:
    return Row(
        what, "", ", ".join(f"{name} {figure(each):.1f}" for name, each in by_system.items())
    )
