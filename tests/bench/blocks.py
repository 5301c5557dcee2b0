"""Measures one shape's warm calls in blocks, so that what drifts strikes all systems alike."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Self

from bench.figures import Spread, Warm, p99
from bench.jobs import Job, Together, call_together, take_turns
from bench.processes import Child
from bench.systems import DISK, LITELLM, System
from bench.wire import Shape
from support.process import memory_of

BLOCKS = 5
SHOWN = Shape(100, 750)
"""The shape that is judged."""
_CALLERS = 16
_PARTS = 4
"""At most, in which the calls of 16 callers are made."""
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Calls:
    """How many calls of a shape each system gets in a block: by one caller, and by 16."""

    alone: int
    together: int

    @classmethod
    def of(cls, shape: Shape) -> Self:
        if shape == SHOWN:
            return cls(100, 1600)
        return {1: cls(60, 320), 20: cls(60, 320), 100: cls(30, 160), 1000: cls(6, 32)}[
            shape.documents
        ]

    def all_together(self, system: str) -> int:
        """Fewer where each is a query of its own, which has to be stored before, and where slow."""
        return max(_CALLERS, self.together // 8) if system in (DISK, LITELLM) else self.together

    @property
    def stocked(self) -> int:
        return BLOCKS * (_WARM_UP + self.alone + self.all_together(DISK))


@dataclass
class Measuring:
    """One shape's measurements, block by block, of `systems`, which may start anew between two."""

    systems: Mapping[str, System]
    shape: Shape
    calls: Calls
    base: str
    """The system that all are compared with."""
    asked: int = 0
    """Stocked queries so far."""
    alone: dict[str, list[Sequence[float]]] = field(default_factory=lambda: defaultdict(list))
    together: dict[str, list[Together]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes, after the last block."""

    async def warm_up(self, one: Child) -> None:
        await take_turns(one, self._job(list(self.systems), _WARM_UP, seed=1))

    async def block(self, one: Child, many: Child, block: int) -> None:
        """Measure all systems, in turns and then one by one, several times in any order."""
        seed = 10 * block
        for name, times in (
            await take_turns(one, self._job(list(self.systems), self.calls.alone, seed + 2))
        ).items():
            self.alone[name].append(times)
        chance, runs = Random(seed), defaultdict[str, list[Together]](list)
        for part in range(_PARTS):
            for name in chance.sample(list(self.systems), len(self.systems)):
                calls = self.calls.all_together(name)
                parts = min(_PARTS, calls // _CALLERS)
                if part < parts:
                    job = self._job([name], calls // parts, 10 * seed + part, _CALLERS)
                    runs[name].append(await call_together(many, job))
        for name, each in runs.items():
            self.together[name].append(sum(each[1:], each[0]))
        self.memory = {name: memory_of(system.pid) for name, system in self.systems.items()}

    def _job(self, names: Sequence[str], calls: int, seed: int, callers: int = 1) -> Job:
        targets = [self.systems[name].target(self.shape, self.asked) for name in names]
        if DISK in names:
            self.asked += calls
        return Job(self.shape, targets, calls, callers, seed)

    def figures(self) -> Sequence[Warm]:
        return [self._figures(name) for name in self.systems]

    def _figures(self, name: str) -> Warm:
        times = [time for block in self.alone[name] for time in block]
        runs = self.together[name]
        calls = sum(run.calls for run in runs)
        return Warm(
            documents=self.shape.documents,
            characters=self.shape.characters,
            system=name,
            p50=median(times),
            p99=p99(times),
            time_ratio=Spread.of(_over(self._medians(name), self._medians(self.base))),
            calls_per_second=median(self._rates(name)),
            rate_ratio=Spread.of(_over(self._rates(name), self._rates(self.base))),
            server_us=sum(run.server_cpu for run in runs) / calls / self.shape.documents * 1e6,
            caller_us=sum(run.own_cpu for run in runs) / calls * 1e6,
            memory=self.memory[name] / (1 << 20),
        )

    def _medians(self, name: str) -> Sequence[float]:
        return [median(times) for times in self.alone[name]]

    def _rates(self, name: str) -> Sequence[float]:
        return [run.calls / run.seconds for run in self.together[name]]


def _over(ours: Sequence[float], theirs: Sequence[float]) -> Sequence[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]
