"""What a caller is told to do, and what it measures: see `bench.caller`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import repeat
from random import Random
from typing import Self

from bench import cohere
from bench.processes import Child
from bench.wire import Requests, Shape, check


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and what it is asked: the `same` bytes, `shuffled`, or a `fresh` query a call.

    Or the same as `json`, by HTTP.
    """

    name: str
    address: str
    pid: int
    asks: str
    query: str
    first: int = 0
    """The number of the first fresh query."""

    def requests(self, written: Requests, chance: Random) -> Iterator[bytes]:
        match self.asks:
            case "same":
                return written.same(self.query)
            case "shuffled":
                return written.shuffled(self.query, chance)
            case "fresh":
                return written.fresh(self.query, self.first)
            case _:
                return repeat(cohere.request(self.query, written.texts))

    def check(self, replies: Iterable[bytes], documents: int) -> None:
        """Raise AssertionError unless these are whole rankings."""
        for reply in replies:
            (cohere.check if self.asks == "json" else check)(reply, documents)


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure. With one caller, the targets take turns, call by call."""

    shape: Shape
    targets: Sequence[Target]
    calls: int
    """To each target."""
    callers: int = 1
    seed: int = 0

    @classmethod
    def read(cls, line: str) -> Self:
        """Read what was written as JSON."""
        said = json.loads(line)
        shape, targets = Shape(**said.pop("shape")), said.pop("targets")
        return cls(shape, [Target(**each) for each in targets], **said)


@dataclass(frozen=True, slots=True)
class Together:
    """What calls of several callers at once took, in seconds."""

    calls: int
    seconds: float
    server_cpu: float
    own_cpu: float

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


async def take_turns(caller: Child, job: Job) -> Mapping[str, Sequence[float]]:
    """Have one caller call each target in turns; gives the milliseconds of each call."""
    times: Mapping[str, Sequence[float]] = json.loads(await caller.ask(json.dumps(asdict(job))))
    return times


async def call_together(caller: Child, job: Job) -> Together:
    """Have several callers at once call one target."""
    return Together(**json.loads(await caller.ask(json.dumps(asdict(job)))))
