"""What was measured, kept as JSON: tables, page and pictures come from the same figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

FOLDER = Path(__file__).parents[2] / ".bench"
"""Results, and stores that are filled once: git ignores it."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure from several blocks of measurements: the median, the least and the most."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(median(values), min(values), max(values))

    @property
    def inverse(self) -> Self:
        return type(self)(1 / self.middle, 1 / self.most, 1 / self.least)

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True, slots=True)
class Warm:
    """What warm calls of one shape cost at one system."""

    documents: int
    characters: int
    system: str
    p50: float
    """Milliseconds, with one caller."""
    p99: float
    time_ratio: Spread
    """Medians over those of the system that it is compared with, of each block."""
    calls_per_second: float
    """With 16 callers."""
    rate_ratio: Spread
    """Calls a second over those of the system that it is compared with, of each block."""
    server_us: float
    """The server's processor time of a pair."""
    caller_us: float
    """The callers' processor time of a call."""
    memory: float
    """MiB that the server holds after these calls."""

    @property
    def pairs_per_second(self) -> float:
        return self.calls_per_second * self.documents


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def save(name: str, figures: Sequence[Any]) -> None:
    """Keep dataclasses as `name`."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps([asdict(each) for each in figures], indent=1)
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def saved(name: str) -> Sequence[Mapping[str, Any]]:
    """Give what was kept as `name`; nothing where nothing was."""
    file = FOLDER / f"{name}.json"
    found: Sequence[Mapping[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return found


def saved_warm(name: str = "warm") -> Sequence[Warm]:
    return [
        Warm(**{**each, **{f: Spread(**each[f]) for f in ("time_ratio", "rate_ratio")}})
        for each in saved(name)
    ]
