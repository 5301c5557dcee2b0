"""Whether a part of the server works: said once when it changes, in the log and to who watches."""

from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Condition:
    """The condition of the part called `name`.

    A part may do several things, of which some can fail while others work; it works where all do.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._failing: set[str] = set()
        self._watcher: Callable[[str, bool], None] = _nobody

    def watch(self, watcher: Callable[[str, bool], None]) -> None:
        """Have `watcher` called with the name, and whether the part works, on each change."""
        self._watcher = watcher
        watcher(self.name, not self._failing)

    def fails(self, doing: str, error: str) -> None:
        """Note that `doing` fails. `error` is logged, so it holds nothing private."""
        if doing in self._failing:
            return
        _log.warning(f"{self.name} fails", doing=doing, error=error)
        self._failing.add(doing)
        if len(self._failing) == 1:
            self._watcher(self.name, False)

    def works(self, doing: str) -> None:
        """Note that `doing` works."""
        if doing not in self._failing:
            return
        _log.info(f"{self.name} works again", doing=doing)
        self._failing.discard(doing)
        if not self._failing:
            self._watcher(self.name, True)


def _nobody(_name: str, _works: bool) -> None:
    pass
