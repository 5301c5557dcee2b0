"""Room to wait in: what it takes, what it refuses, and when it says to come back."""

from rerankd_server.caching.room import Room
from support.clock import SetClock


def test_it_takes_all_or_none() -> None:
    room = Room(10)
    assert room.take(6, "a")
    assert not room.take(5, "b")
    assert room.take(4, "b")
    assert not room.take(1, "a")
    assert room.take(0, "c")
    assert room.taken == 10
    room.leave("a")
    assert room.take(1, "c")


def test_who_is_alone_gets_what_it_asks_for() -> None:
    """Also where it asks several times, for each part of what scores for it."""
    room = Room(10)
    assert room.take(25, "a")
    assert room.take(25, "a")
    assert not room.take(1, "b")
    for _ in range(49):
        room.leave("a")
    assert not room.take(25, "b")
    room.leave("a")
    assert room.take(25, "b")
    assert not room.take(1, "a")


def test_when_to_come_back_follows_from_how_fast_others_left() -> None:
    clock = SetClock()
    room = Room(100, clock.now)
    room.take(100, "a")
    assert room.seconds_until(10) == 1  # nobody has left yet
    for _ in range(20):
        clock.advance(0.5)
        room.leave("a")
        room.take(1, "a")
    assert 9 <= room.seconds_until(20) <= 11
    assert room.seconds_until(1) == 1
    clock.advance(1e6)
    assert room.seconds_until(20) == 60
