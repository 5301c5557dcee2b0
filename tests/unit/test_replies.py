"""Replies by the bytes of their requests."""

from collections.abc import Mapping

import pytest

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.replies import Replies
from rerankd_server.caching.generations import Generations
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import NOTHING_USED, Finding, Score

ROOM = 64 << 10
EVIDENCE: Mapping[bytes, Finding] = {b"k": Score(0.5)}


def ranking(evidence: Mapping[bytes, Finding] | None = EVIDENCE) -> Ranking:
    return Ranking([], True, "m", NOTHING_USED, evidence)


def wire(query: str) -> bytes:
    return pb.RerankRequest(query=query).SerializeToString()


def test_the_same_bytes_get_the_same_reply() -> None:
    replies = Replies(ROOM, lambda _: True)
    call = replies.read(wire("q"))
    assert call.request
    assert (call.request.query, call.reply) == ("q", None)
    replies.keep(call, b"reply", ranking())
    again = replies.read(wire("q")).reply
    assert again
    assert (again.message, again.ranking.model) == (b"reply", "m")
    assert replies.read(wire("p")).reply is None


def test_a_reply_holds_as_long_as_what_it_was_made_of() -> None:
    asked = []

    def holds(evidence: Mapping[bytes, Finding]) -> bool:
        asked.append(evidence)
        return len(asked) == 1

    replies = Replies(ROOM, holds)
    replies.keep(replies.read(wire("q")), b"reply", ranking())
    assert replies.read(wire("q")).reply
    call = replies.read(wire("q"))
    assert call.request
    assert (call.reply, call.request.query) == (None, "q")
    assert asked == [EVIDENCE, EVIDENCE]


@pytest.mark.parametrize(("room", "evidence"), [(0, EVIDENCE), (ROOM, None), (100, EVIDENCE)])
def test_what_is_not_remembered(room: int, evidence: Mapping[bytes, Finding] | None) -> None:
    replies = Replies(room, lambda _: True)
    replies.keep(replies.read(wire("q")), b"reply", ranking(evidence))
    call = replies.read(wire("q"))
    assert call.request
    assert (call.reply, call.request.query) == (None, "q")


def test_replies_are_bounded_by_what_they_hold_on_to() -> None:
    replies = Replies(ROOM, lambda _: True)
    many = {bytes([n]): Score(0.5) for n in range(40)}
    for n in range(100):
        replies.keep(replies.read(wire(str(n))), b"reply", ranking(many))
    kept = [n for n in range(100) if replies.read(wire(str(n))).reply]
    assert kept[-1] == 99
    assert 2 <= len(kept) <= 7


def test_what_is_no_request_is_none() -> None:
    call = Replies(ROOM, lambda _: True).read(b"\xff\xff")
    assert (call.request, call.reply) == (None, None)


def test_a_value_that_is_replaced_gives_its_room_back() -> None:
    kept = Generations[bytes](20, len)
    for _ in range(100):
        kept.put(b"a", b"12345")
        kept.put(b"b", b"1234")
    assert (kept.get(b"a"), kept.get(b"b")) == (b"12345", b"1234")
    kept.put(b"a", b"much too long")
    assert (kept.get(b"a"), kept.get(b"b")) == (None, b"1234")
