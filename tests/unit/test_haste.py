"""Haste: how long one thread waited, and what follows from it."""

from collections.abc import Callable

import pytest

from rerankd_server.caching.haste import Haste


class Times:
    """The time, and the processor's, as somebody sets them."""

    now = 100.0
    ran = 5.0

    def haste(self) -> Haste:
        return Haste(lambda: self.now, lambda: self.ran)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def run(self, seconds: float) -> None:
        self.now += seconds
        self.ran += seconds


@pytest.mark.parametrize(
    ("what", "is_wise"),
    [
        (lambda times: times.wait(0.0019), True),
        (lambda times: times.wait(0.0021), False),
        (lambda times: times.run(1.0), True),
    ],
)
def test_only_waiting_counts(what: Callable[[Times], None], is_wise: bool) -> None:
    times = Times()
    haste = times.haste()
    assert haste.is_wise
    with haste.watched():
        what(times)
    assert haste.is_wise is is_wise


def test_it_is_unwise_for_a_hundred_times_as_long() -> None:
    times = Times()
    haste = times.haste()

    def fail() -> None:
        times.wait(0.5)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), haste.watched():
        fail()
    times.wait(49.9)
    assert not haste.is_wise
    times.wait(0.2)
    assert haste.is_wise
