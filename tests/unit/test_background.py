"""Background work: whose turn it is, and who is let through."""

import asyncio
from functools import partial

from rerankd_server.background import Background
from support.clock import FastClock


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_pieces_come_one_by_one_and_others_between() -> None:
    background = Background()
    seen: list[int | str] = []

    def other() -> None:
        seen.append("other")
        if len(seen) < 6:
            asyncio.get_running_loop().call_soon(other)

    for n in range(3):
        background.soon(partial(seen.append, n))
    asyncio.get_running_loop().call_soon(other)
    await turns_of_the_loop(8)
    assert seen == [0, "other", 1, "other", 2, "other"]


async def test_a_piece_that_comes_later_is_done_too() -> None:
    background = Background()
    seen: list[int] = []
    for n in range(2):
        background.soon(partial(seen.append, n))
        await turns_of_the_loop(4)
    assert seen == [0, 1]


async def test_turns_are_taken_in_order_and_none_waits_for_who_left() -> None:
    background = Background()
    first, second, third = (asyncio.create_task(background.turn()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({third})
    assert first.done()
    assert second.cancelled()


async def test_others_are_let_through_while_calls_are_answered_at_once() -> None:
    clock = FastClock()
    background = Background(clock)

    async def pauses(pieces: int) -> int:
        clock.pauses.clear()
        await asyncio.gather(*(background.turn() for _ in range(pieces)))
        return len(clock.pauses)

    assert await pauses(3) == 0
    background.make_way()
    assert await pauses(3) == 3  # one after each
    assert {0.002} == {*clock.pauses}
    assert 40 < await pauses(200) < 50  # until nobody was answered for a tenth of a second
    assert await pauses(3) == 0
