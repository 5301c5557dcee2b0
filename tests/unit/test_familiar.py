"""Documents that are found by their bytes: what is known of them, and for how long."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.call import Call
from rerankd_server.api.familiar import Familiar, Known
from rerankd_server.api.validation import Limits
from rerankd_server.reranker import Ranking
from rerankd_server.scoring.scorer import NOTHING_USED, Score

ROOM = 1 << 20
SCORES = {"a": Score(0.1, scored_at=1000), "b": Score(0.2, scored_at=1030)}


class World:
    """Familiar documents, and what they depend on."""

    epoch = 7
    oldest = 0.0

    def __init__(self, room: int = ROOM, limits: Limits | None = None) -> None:
        self.familiar = Familiar(room, limits or Limits(), self.are_fresh)

    def are_fresh(self, scores: Sequence[Score]) -> bool:
        return all(score.scored_at >= self.oldest for score in scores)

    def ask(self, *documents: str | pb.Document, **fields: Any) -> Known | None:
        """What is known; where it is not all, the request is answered twice, and remembered."""
        sent = [pb.Document(text=each) if isinstance(each, str) else each for each in documents]
        request = pb.RerankRequest(**({"query": "q", "documents": sent} | fields))
        call = Call(request.SerializeToString(), self.epoch)
        known = self.familiar.find(call)
        if known is None:
            for _ in range(2):
                self.answer(call, sent)
        return known

    def answer(self, call: Call, sent: Sequence[pb.Document]) -> None:
        texts = [each.text for each in sent]
        self.familiar.keep(call, sent, ranking([SCORES[text[:1]] for text in texts], texts))


class ColdWorld(World):
    """One whose scores are read from the disk each time; what they were bought for may change."""

    value = 0.1

    def answer(self, call: Call, sent: Sequence[pb.Document]) -> None:
        pairs = {each.text: Score(self.value, 100, 1, scored_at=1000) for each in sent}
        texts = [each.text for each in sent]
        self.familiar.keep(call, sent, ranking([pairs[text] for text in texts], texts))


def ranking(scores: Sequence[Score] | None, texts: Sequence[str] = ()) -> Ranking:
    """One of documents that have these scores; equal texts make one pair."""
    pairs = None if scores is None else [text.encode() for text in texts]
    return Ranking([], [], [], {}, True, "m", NOTHING_USED, 1000, scores, pairs)


def test_documents_are_found_in_any_order_and_number() -> None:
    world = World()
    assert world.ask("a", "b") is None
    known = world.ask("b", "a", "b", top_n=0)
    assert known
    assert [*known.scores] == [SCORES["b"], SCORES["a"], SCORES["b"]]
    assert known.scores[0] is SCORES["b"]
    assert (known.model, known.top_n, known.ids, known.echoes) == ("", 0, (), ())
    assert world.ask("a", "b2") is None
    assert world.ask("b2")


def test_only_what_comes_again_is_kept() -> None:
    world = World()
    sent = [pb.Document(text="a")]
    call = Call(pb.RerankRequest(query="q", documents=sent).SerializeToString(), world.epoch)
    for is_known in (False, False, True):
        assert (world.familiar.find(call) is not None) is is_known
        world.answer(call, sent)


OTHERS: dict[str, Any] = {
    "query": "p",
    "model": "m",
    "top_n": 1,
    "instruction": "i",
    "return_documents": True,
    "partial_results": True,
    "require_complete": True,
    "cache_mode": pb.CACHE_MODE_REFRESH,
}


@pytest.mark.parametrize("field", OTHERS)
def test_what_else_is_asked_makes_another_request(field: str) -> None:
    world = World()
    assert world.ask("a") is None
    assert world.ask("a", **{field: OTHERS[field]}) is None
    known = world.ask("a", **{field: OTHERS[field]})
    assert known
    assert (known.model, known.top_n) == (OTHERS["model"] * (field == "model"), field == "top_n")


def test_every_field_of_a_request_is_looked_at() -> None:
    assert {*OTHERS, "documents"} == {*pb.RerankRequest.DESCRIPTOR.fields_by_name}


def test_ids_belong_to_their_documents() -> None:
    world = World()
    one, other = pb.Document(text="a", id="1"), pb.Document(text="a", id="2")
    world.ask(one, "b", "a", other)
    known = world.ask("b", other, one, "a")
    assert known
    assert known.ids == ["", "2", "1", ""]


def test_documents_are_given_back_as_they_came() -> None:
    world = World()
    document = pb.Document(text="a", id="1", prior_score=2)
    world.ask(document, "b", return_documents=True)
    known = world.ask("b", document, return_documents=True)
    assert known
    assert [pb.Document.FromString(each) for each in known.echoes] == [
        pb.Document(text="b"),
        document,
    ]


def test_documents_that_make_one_pair_have_one_score() -> None:
    world = ColdWorld()
    one, other = pb.Document(text="a", id="1"), pb.Document(text="a", id="2")
    for sent in (one, other, "a", "b"):
        assert world.ask(sent) is None
    known = world.ask("b", other, "a", one)
    assert known
    assert known.scores[1] is known.scores[2] is known.scores[3]
    assert known.scores[0] == known.scores[1]  # by its value
    assert known.scores[0] is not known.scores[1]


def test_no_reply_holds_two_scores_of_a_pair() -> None:
    world = ColdWorld()
    one, other = pb.Document(text="a", id="1"), pb.Document(text="a", id="2")
    assert world.ask(one, "b") is None
    world.value = 0.9
    assert world.ask(other) is None  # it was bought anew
    assert world.ask(other)
    assert world.ask(one, other) is None
    known = world.ask(one, other)
    assert known
    assert [score.value for score in known.scores] == [0.9, 0.9]


@pytest.mark.parametrize("changed", [{"completion_tokens": 2}, {"scored_at": 1001}])
def test_what_was_bought_anew_for_the_same_score_is_not_what_it_was(
    changed: dict[str, int],
) -> None:
    world, sent = World(), [pb.Document(text="a")]
    score = Score(0.1, 100, 1, scored_at=1000)
    for each in (score, score, replace(score, **changed)):
        call = Call(pb.RerankRequest(query="q", documents=sent).SerializeToString(), world.epoch)
        world.familiar.find(call)
        world.familiar.keep(call, sent, ranking([each], ["a"]))
    known = world.ask("a")
    assert known
    assert [*known.scores] == [replace(score, **changed)]


def test_they_are_known_for_an_epoch() -> None:
    world = World()
    world.ask("a")
    world.epoch += 1
    assert world.ask("b") is None
    assert world.ask("b", "a") is None
    assert world.ask("b", "a")


def test_they_are_known_for_as_long_as_their_scores_are_valid() -> None:
    world = World()
    world.ask("a", "b")
    world.oldest = 1001.0
    assert world.ask("b")
    assert world.ask("b", "a") is None


@pytest.mark.parametrize(
    ("asked", "limits"),
    [([], Limits()), (["a"] * 4, Limits(documents=3)), (["a"], Limits(message_bytes=1000))],
)
def test_a_request_that_may_be_refused_is_read_to_the_end(
    asked: Sequence[str], limits: Limits
) -> None:
    world = World(limits=limits)
    for _ in range(3):
        assert world.ask(*asked) is None


def test_what_is_no_request_is_not_known() -> None:
    world = World()
    assert world.familiar.find(Call(b"\xff\xff", 7)) is None


@pytest.mark.parametrize("room", [0, 100])
def test_nothing_is_known_without_room(room: int) -> None:
    world = World(room)
    for _ in range(3):
        assert world.ask("a") is None


def test_what_was_not_recalled_is_not_kept() -> None:
    world = World()
    request = pb.RerankRequest(query="q", documents=[pb.Document(text="a")])
    for _ in range(2):
        call = Call(request.SerializeToString(), 7)
        assert world.familiar.find(call) is None
        world.familiar.keep(call, request.documents, ranking(None))


def test_they_are_bounded() -> None:
    world = World(64 << 10)
    for n in range(2_000):
        world.ask(f"a{n}".ljust(1000), query=f"{n // 5 % 7}")
    kept = world.familiar._kept
    held = [*kept._young.values(), *kept._old.values()]
    assert 10_000 <= sum(len(data) for each in held for data in each.scores) <= 64 << 10


@pytest.mark.parametrize("field", ["query", "instruction"])
def test_long_queries_and_instructions_take_their_room(field: str) -> None:
    """Each character of this one takes four bytes."""
    world = World(room=ROOM)
    texts = [f"{n}" + "\U0001f41d" * 16_000 for n in range(40)]
    for text in texts:
        world.ask("a", **{field: text})
    known = sum(world.ask("a", **{field: text}) is not None for text in texts[::-1])
    assert 1 <= known <= ROOM // 64_000


def test_long_ids_take_their_room() -> None:
    """They are there twice: as they came, and as they are answered."""
    world = World(room=ROOM)
    named = [pb.Document(text="a", id=f"{number}" + "x" * 64_000) for number in range(5)]
    for documents, is_known in ((named, False), (named[:3], True)):
        assert world.ask(*documents) is None
        assert (world.ask(*documents) is not None) is is_known
