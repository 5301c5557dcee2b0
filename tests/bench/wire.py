"""Requests as the bytes that go over the wire, made before any clock runs; and replies, checked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from bench.texts import long_texts
from rerankd.v1 import rerank_pb2 as pb

METHOD = "/rerankd.v1.RerankService/RerankOnce"


@dataclass(frozen=True, slots=True)
class Shape:
    """How many documents a request has, and how long each is."""

    documents: int
    characters: int

    def __str__(self) -> str:
        return f"{self.documents:,} x {self.characters:,}"

    @property
    def texts(self) -> Sequence[str]:
        return long_texts("warm", self.documents, self.characters)


class Requests:
    """Writes requests for the documents of `shape`.

    A message is its fields one after the other, so documents are written once and put in any order.
    """

    def __init__(self, shape: Shape) -> None:
        self.texts = shape.texts
        self._parts = [
            pb.RerankRequest(documents=[pb.Document(text=text)]).SerializeToString()
            for text in self.texts
        ]

    def same(self, query: str) -> Iterator[bytes]:
        """Give the same bytes for ever."""
        request = self._write(query, self._parts)
        while True:
            yield request

    def shuffled(self, query: str, chance: Random) -> Iterator[bytes]:
        """Give the documents in another order each time."""
        while True:
            yield self._write(query, chance.sample(self._parts, len(self._parts)))

    def fresh(self, query: str, first: int) -> Iterator[bytes]:
        """Give another query each time, which `query_of` names, from number `first` on."""
        while True:
            yield self._write(query_of(query, first), self._parts)
            first += 1

    def _write(self, query: str, parts: Sequence[bytes]) -> bytes:
        return pb.RerankRequest(query=query).SerializeToString() + b"".join(parts)


def query_of(name: str, number: int) -> str:
    """Give one of many queries."""
    return f"{name}, number {number}"


def check(reply: bytes, documents: int) -> None:
    """Raise AssertionError unless all documents are ranked, by scores from the cache alone."""
    ranking = pb.RerankResponse.FromString(reply)
    scores = [result.relevance_score for result in ranking.results]
    assert ranking.usage.cached_pairs == documents, ranking.usage
    assert {result.index for result in ranking.results} == set(range(documents))
    assert scores == sorted(scores, reverse=True)
