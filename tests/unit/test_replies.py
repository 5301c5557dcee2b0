"""Replies by the bytes of their requests."""

import pytest

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.replies import Replies
from rerankd_server.caching.generations import Generations
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import NOTHING_USED

ROOM = 64 << 10


class World:
    """What a reply depends on."""

    epoch = 7
    oldest = 0.0

    def replies(self, room: int = ROOM) -> Replies:
        return Replies(room, lambda: self.epoch, lambda: self.oldest)


def ranking(oldest: int | None = 1000) -> Ranking:
    return Ranking([], [], [], {}, True, "m", NOTHING_USED, oldest)


def wire(query: str) -> bytes:
    return pb.RerankRequest(query=query).SerializeToString()


def answer(replies: Replies, query: str, reply: bytes = b"reply", times: int = 2) -> None:
    """Have `query` answered; only what comes twice is remembered."""
    for _ in range(times):
        replies.keep(replies.read(wire(query)), reply, ranking())


def remembered(replies: Replies, query: str) -> bytes | None:
    call = replies.read(wire(query))
    assert bool(call.request) != bool(call.reply)
    return call.reply and call.reply.message


def test_the_same_bytes_get_the_same_reply() -> None:
    replies = World().replies()
    call = replies.read(wire("q"))
    assert call.request
    assert (call.request.query, call.size, call.reply) == ("q", 3, None)
    answer(replies, "q")
    again = replies.read(wire("q")).reply
    assert again
    assert (again.message, again.model) == (b"reply", "m")
    assert remembered(replies, "p") is None


def test_only_what_comes_again_is_hashed_and_remembered() -> None:
    replies = World().replies()
    answer(replies, "q", times=1)
    assert remembered(replies, "q") is None
    assert replies.read(wire("p")).digest == b""
    assert len(replies.read(wire("q")).digest) == 32


def test_requests_that_differ_in_the_middle_are_different() -> None:
    replies = World().replies()
    ends = "a" * 2_000, "z" * 2_000
    answer(replies, "one".join(ends))
    assert remembered(replies, "one".join(ends))
    assert remembered(replies, "two".join(ends)) is None


def test_a_reply_ends_with_its_epoch() -> None:
    world = World()
    replies = world.replies()
    answer(replies, "q")
    assert remembered(replies, "q")
    world.epoch += 1
    assert remembered(replies, "q") is None
    answer(replies, "q", b"newer", times=1)
    assert remembered(replies, "q") == b"newer"


def test_a_reply_is_of_the_epoch_that_its_request_came_in() -> None:
    world = World()
    replies = world.replies()
    answer(replies, "q", times=1)
    call = replies.read(wire("q"))
    world.epoch += 1
    replies.keep(call, b"reply", ranking())
    assert remembered(replies, "q") is None


def test_a_reply_ages_with_its_oldest_score() -> None:
    world = World()
    replies = world.replies()
    answer(replies, "q")
    world.oldest = 1000.0
    assert remembered(replies, "q")
    world.oldest = 1000.5
    assert remembered(replies, "q") is None


@pytest.mark.parametrize(("room", "oldest"), [(0, 1000), (ROOM, None), (100, 1000)])
def test_what_is_not_remembered(room: int, oldest: int | None) -> None:
    replies = World().replies(room)
    for _ in range(3):
        replies.keep(replies.read(wire("q")), b"reply", ranking(oldest))
    assert remembered(replies, "q") is None


def test_replies_are_bounded() -> None:
    replies = World().replies()
    for n in range(1000):
        answer(replies, str(n), bytes(5_000))
    kept = [n for n in range(1000) if remembered(replies, str(n))]
    assert kept[-1] == 999
    assert 2 <= len(kept) <= 10


def test_what_is_no_request_is_none() -> None:
    call = World().replies().read(b"\xff\xff")
    assert (call.request, call.reply) == (None, None)


def test_a_value_that_is_replaced_gives_its_room_back() -> None:
    kept = Generations[bytes, bytes](20, len)
    for _ in range(100):
        kept.put(b"a", b"12345")
        kept.put(b"b", b"1234")
    assert (kept.get(b"a"), kept.get(b"b")) == (b"12345", b"1234")
    kept.put(b"a", b"much too long")
    assert (kept.get(b"a"), kept.get(b"b")) == (None, b"1234")
