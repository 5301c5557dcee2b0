"""Room to wait in: what it takes, what it refuses, and when it says to come back."""

from rerankd_server.caching.room import Room
from support.clock import SetClock


def test_it_takes_all_or_none() -> None:
    room = Room(10)
    assert room.take(6)
    assert not room.take(5)
    assert room.take(4)
    assert not room.take(1)
    assert room.take(0)
    room.leave()
    assert room.take(1)


def test_what_is_too_large_gets_an_empty_room_and_no_other() -> None:
    room = Room(10)
    assert room.take(25)
    assert not room.take(1)
    for _ in range(24):
        room.leave()
    assert not room.take(25)
    room.leave()
    assert room.take(25)


def test_when_to_come_back_follows_from_how_fast_others_left() -> None:
    clock = SetClock()
    room = Room(100, clock.now)
    room.take(100)
    assert room.seconds_until(10) == 1  # nobody has left yet
    for _ in range(20):
        clock.advance(0.5)
        room.leave()
        room.take(1)
    assert 9 <= room.seconds_until(20) <= 11
    assert room.seconds_until(1) == 1
    clock.advance(1e6)
    assert room.seconds_until(20) == 60
