"""The epoch: a number that changes whenever something that was stored is replaced or deleted.

All processes that use a store share it, in eight bytes of a file that each maps into its memory. So
what one has in memory is known to be out of date, at the price of a look at memory, once another
has stored a newer score.
"""

import mmap
import time
from pathlib import Path

_BYTES = 8


class Epoch:
    """The epoch of the store in `folder`; until it is opened, this process's own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "epoch"
        self._shared = memoryview(bytearray(_BYTES)).cast("Q")

    @property
    def now(self) -> int:
        """The epoch."""
        return self._shared[0]

    def advance(self) -> None:
        """Begin another epoch."""
        self._shared[0] = time.time_ns()

    def open(self) -> None:
        """Share it with whoever else uses the folder. Raises OSError."""
        with self._path.open("a+b") as file:
            if file.tell() < _BYTES:
                file.write(bytes(_BYTES))  # a hole would not do: its place on disk might be gone
                file.flush()
            self._shared = memoryview(mmap.mmap(file.fileno(), _BYTES)).cast("Q")
