"""Admission: how many calls, and how much memory, are taken at once."""

import asyncio

import pytest

from rerankd_server.api.admission import Admission
from rerankd_server.errors import ServerBusyError, ShuttingDownError
from support.clock import SetClock, settle

MEGABYTE = 1 << 20


def admission(max_bytes: int = 20 * MEGABYTE, max_calls: int = 2) -> Admission:
    return Admission(max_bytes, max_calls, SetClock())


def test_more_calls_than_may_be_are_refused() -> None:
    admitted = admission(max_calls=2)
    admitted.begin()
    admitted.begin()
    with pytest.raises(ServerBusyError, match=r"2 calls are under way .* `max_calls`"):
        admitted.begin()
    admitted.end()
    admitted.begin()
    assert admitted.calls == 2


async def test_once_closed_it_refuses_and_waits_until_nobody_comes() -> None:
    clock = SetClock()
    admitted = Admission(MEGABYTE, 2, clock)
    closing = asyncio.create_task(admitted.close())
    await settle()
    for _ in range(3):
        with pytest.raises(ShuttingDownError):
            admitted.begin()
        clock.advance(0.002)
        await settle()
        assert not closing.done()
    clock.advance(0.002)
    await closing


async def test_closing_ends_also_where_callers_never_rest() -> None:
    clock = SetClock()
    admitted = Admission(MEGABYTE, 2, clock)
    closing = asyncio.create_task(admitted.close())
    for _ in range(30):
        await settle()
        with pytest.raises(ShuttingDownError):
            admitted.begin()
        clock.advance(0.002)
    await closing


def test_requests_share_half_of_the_memory_and_one_alone_gets_what_it_needs() -> None:
    admitted = admission()
    with admitted.request(6 * MEGABYTE):
        with pytest.raises(ServerBusyError, match="`max_bytes_in_flight`"):
            admitted.request(5 * MEGABYTE).__enter__()
        with admitted.request(4 * MEGABYTE):
            assert admitted.held == 10 * MEGABYTE
            with admitted.request(4096):  # as a health check is
                pass
    assert admitted.held == 0
    with admitted.request(99 * MEGABYTE):
        pass


async def test_large_requests_that_are_here_wait_for_room_in_turns() -> None:
    admitted = admission()
    await admitted.work(15 * MEGABYTE)  # alone
    ended: list[int] = []

    async def one(number: int, memory: int) -> None:
        await admitted.work(memory)
        ended.append(number)

    waiting = [
        asyncio.create_task(one(number, size * MEGABYTE))
        for number, size in enumerate((6, 5, 1), 1)
    ]
    await settle()
    assert ended == []
    admitted.worked(15 * MEGABYTE)
    await settle()
    assert ended == [1], "the third would fit, but it is not its turn"
    admitted.worked(6 * MEGABYTE)
    await settle()
    assert ended == [1, 2, 3]
    await asyncio.gather(*waiting)


async def test_who_leaves_while_it_waits_takes_nothing() -> None:
    admitted = admission()
    await admitted.work(10 * MEGABYTE)
    first, second = (asyncio.create_task(admitted.work(4 * MEGABYTE)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    admitted.worked(10 * MEGABYTE)
    second.cancel()  # when it has its room already
    await settle()
    assert first.cancelled()
    assert second.cancelled()
    assert admitted.held == 0


async def test_nobody_waits_for_room_for_ever() -> None:
    clock = SetClock()
    admitted = Admission(20 * MEGABYTE, 2, clock)
    await admitted.work(10 * MEGABYTE)
    waiting = asyncio.create_task(admitted.work(MEGABYTE))
    await settle()
    clock.advance(29.9)
    await settle()
    assert not waiting.done()
    clock.advance(0.2)
    with pytest.raises(ServerBusyError):
        await waiting
    admitted.worked(10 * MEGABYTE)
    assert admitted.held == 0


async def test_memory_is_given_back_after_large_requests() -> None:
    clock, given = SetClock(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def give_back() -> None:
        loop.call_soon_threadsafe(given.set)

    admitted = Admission(1 << 30, 2, clock, give_back)
    with admitted.request(31 * MEGABYTE):
        pass
    clock.advance(1)
    await settle()
    assert not given.is_set()
    with admitted.request(20 * MEGABYTE):
        await admitted.work(20 * MEGABYTE)
        admitted.worked(20 * MEGABYTE)
    clock.advance(1)
    await given.wait()
