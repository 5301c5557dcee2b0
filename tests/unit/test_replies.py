"""Replies by the bytes of their requests."""

import pytest

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.call import Call
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
        return Replies(room, lambda scored_at: scored_at >= self.oldest)

    def call(self, query: str) -> Call:
        return Call(pb.RerankRequest(query=query).SerializeToString(), self.epoch)


def ranking(oldest: int | None = 1000) -> Ranking:
    return Ranking([], [], [], {}, True, "m", NOTHING_USED, oldest)


def answer(world: World, replies: Replies, query: str, reply: bytes = b"reply") -> None:
    """Have `query` answered, as the service does."""
    call = world.call(query)
    if not replies.find(call):
        replies.keep(call, reply, ranking())


def remembered(world: World, replies: Replies, query: str) -> bytes | None:
    reply = replies.find(world.call(query))
    return reply and reply.message


def test_the_same_bytes_get_the_same_reply() -> None:
    world = World()
    replies = world.replies()
    for _ in range(2):
        assert remembered(world, replies, "q") is None
        answer(world, replies, "q")
    again = replies.find(world.call("q"))
    assert again
    assert (again.message, again.model) == (b"reply", "m")
    assert remembered(world, replies, "p") is None


def test_only_what_comes_again_is_remembered() -> None:
    world = World()
    replies = world.replies()
    for n in range(10):
        answer(world, replies, str(n))
    assert not replies._kept._young


def test_requests_that_differ_in_the_middle_are_different() -> None:
    world = World()
    replies = world.replies()
    ends = "a" * 2_000, "z" * 2_000
    for _ in range(2):
        answer(world, replies, "one".join(ends))
    assert remembered(world, replies, "one".join(ends))
    assert remembered(world, replies, "two".join(ends)) is None


def test_a_reply_ends_with_its_epoch() -> None:
    world = World()
    replies = world.replies()
    for _ in range(2):
        answer(world, replies, "q")
    assert remembered(world, replies, "q")
    world.epoch += 1
    assert remembered(world, replies, "q") is None
    answer(world, replies, "q", b"newer")
    assert remembered(world, replies, "q") == b"newer"


def test_a_reply_is_of_the_epoch_that_its_request_came_in() -> None:
    world = World()
    replies = world.replies()
    answer(world, replies, "q")
    call = world.call("q")
    assert not replies.find(call)
    world.epoch += 1
    replies.keep(call, b"reply", ranking())
    assert remembered(world, replies, "q") is None


def test_a_reply_ages_with_its_oldest_score() -> None:
    world = World()
    replies = world.replies()
    for _ in range(2):
        answer(world, replies, "q")
    world.oldest = 1000.0
    assert remembered(world, replies, "q")
    world.oldest = 1000.5
    assert remembered(world, replies, "q") is None


@pytest.mark.parametrize(("room", "oldest"), [(0, 1000), (ROOM, None), (100, 1000)])
def test_what_is_not_remembered(room: int, oldest: int | None) -> None:
    world = World()
    replies = world.replies(room)
    for _ in range(3):
        call = world.call("q")
        assert not replies.find(call)
        replies.keep(call, b"reply", ranking(oldest))


def test_replies_are_bounded() -> None:
    world = World()
    replies = world.replies()
    for n in range(1000):
        for _ in range(2):
            answer(world, replies, str(n), bytes(5_000))
    kept = [n for n in range(1000) if remembered(world, replies, str(n))]
    assert kept[-1] == 999
    assert 2 <= len(kept) <= 10


def test_a_value_that_is_replaced_gives_its_room_back() -> None:
    kept = Generations[bytes, bytes](20, len)
    for _ in range(100):
        kept.put(b"a", b"12345")
        kept.put(b"b", b"1234")
    assert (kept.get(b"a"), kept.get(b"b")) == (b"12345", b"1234")
    kept.put(b"a", b"much too long")
    assert (kept.get(b"a"), kept.get(b"b")) == (None, b"1234")
