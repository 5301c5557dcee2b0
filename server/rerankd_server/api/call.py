"""A request as it came, and what is found out about it on the way to its answer."""

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Call:
    """One call for a ranking."""

    data: bytes
    """The request's message."""
    epoch: int
    """The one that it came in: see `caching.epoch`."""
    arrived: float = field(default_factory=time.perf_counter)
    """On that clock."""
    sample: int = 0
    """What `Replies` find it by."""
    view: Any = None
    asked: tuple[object, ...] = ()
    """What `Familiar` finds it by."""
