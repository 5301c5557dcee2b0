"""Requests as they arrive: what takes long is bounded in memory and in time."""

import asyncio
from typing import cast

import pytest

import grpc
from rerankd_server.api.admission import Admission
from rerankd_server.api.arrivals import Arrivals
from rerankd_server.api.status import Context
from rerankd_server.errors import ServerBusyError
from support.clock import SetClock, settle

MEGABYTE = 1 << 20


class Message:
    """A call's message, which is here once somebody says so."""

    def __init__(self) -> None:
        self._here: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def arrive(self, data: object) -> None:
        self._here.set_result(data)

    async def read(self) -> object:
        return await self._here


class Reading:
    """Arrivals whose memory, in megabytes, is what a test says."""

    def __init__(self, memory: int | None = 100) -> None:
        self.memory = memory
        self.clock = SetClock()
        self.admission = Admission(100 * MEGABYTE, 10, self.clock)
        self.arrivals = Arrivals(
            self.admission,
            largest=40 * MEGABYTE,
            time_limit=30,
            clock=self.clock,
            memory=lambda: None if self.memory is None else self.memory * MEGABYTE,
        )

    def begin(self, message: Message) -> asyncio.Task[bytes | None]:
        return asyncio.create_task(self.arrivals.read(cast("Context", message)))


async def test_what_is_here_is_read() -> None:
    reading = Reading()
    for data, read in ((b"whole", b"whole"), (grpc.aio.EOF, None)):
        message = Message()
        message.arrive(data)
        assert await reading.begin(message) == read


async def test_what_does_not_end_is_refused() -> None:
    reading, message = Reading(), Message()
    slow = reading.begin(message)
    await settle()
    reading.clock.advance(29.9)
    await settle()
    assert not slow.done()
    reading.clock.advance(0.2)
    with pytest.raises(ServerBusyError, match=r"within 30 s; .* `message_timeout`"):
        await slow


async def test_where_all_that_arrives_takes_too_much_the_last_ones_are_refused() -> None:
    reading = Reading()
    messages = [Message() for _ in range(4)]
    tasks = [reading.begin(each) for each in messages]
    await settle()
    reading.memory = 200
    reading.clock.advance(1)
    await settle()
    assert not any(task.done() for task in tasks), "it is all that may be, and no more"
    reading.memory = 201
    reading.clock.advance(0.01)
    await settle()
    assert [task.done() for task in tasks] == [False, False, True, True], "two surely fit"
    for task in tasks[2:]:
        with pytest.raises(ServerBusyError, match="`max_bytes_in_flight`"):
            await task
    for message, task in zip(messages[:2], tasks[:2], strict=True):
        message.arrive(b"whole")
        assert await task == b"whole"


async def test_what_was_freed_meanwhile_was_taken_up_by_what_arrives() -> None:
    reading = Reading()
    with reading.admission.request(60 * MEGABYTE):
        tasks = [reading.begin(Message()) for _ in range(3)]
        await settle()
        reading.clock.advance(0.001)
    reading.memory = 145  # 45 more, and 60 that are free by now
    reading.clock.advance(1)
    await settle()
    assert [task.done() for task in tasks] == [False, False, True]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_where_nobody_knows_the_memory_as_many_arrive_as_surely_fit() -> None:
    reading = Reading(memory=None)
    tasks = [reading.begin(Message()) for _ in range(3)]
    await settle()
    reading.clock.advance(0.01)
    await settle()
    assert [task.done() for task in tasks] == [False, False, True]
    with reading.admission.request(90 * MEGABYTE):
        reading.clock.advance(0.01)
        await settle()
        assert [task.done() for task in tasks] == [False, True, True], "one always may"
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
