"""Similarities: the query's vector may come first or last, and may be lost."""

from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest

from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Reason,
    Scorer,
    Source,
    Unscored,
    Vector,
)
from rerankd_server.scoring.similarity import Similarity

FAILED = Unscored(Reason.FAILED)
QUERY, A, B = range(3)


def vector(*numbers: float) -> Vector:
    return Vector(np.array(numbers, "<f4").tobytes())


class Scripted(Scorer[Vector]):
    """Says its steps, whatever it is asked; notes the texts."""

    def __init__(self, *steps: Progress[Vector]) -> None:
        self.steps = steps
        self.asked: list[str] = []

    async def score(
        self, ask: Ask, candidates: Sequence[Candidate]
    ) -> AsyncGenerator[Progress[Vector]]:
        self.asked = [candidate.text for candidate in candidates]
        for step in self.steps:
            yield step


async def said(
    *steps: Progress[Vector],
) -> tuple[dict[int, tuple[float, Source]], dict[int, Reason]]:
    found: dict[int, tuple[float, Source]] = {}
    unscored: dict[int, Reason] = {}
    similarity = Similarity(Scripted(*steps))
    async for step in similarity.score(Ask("q"), [Candidate("a"), Candidate("b")]):
        assert not (found.keys() | unscored.keys()) & (step.found.keys() | step.unscored.keys())
        found.update({p: (score.value, step.source) for p, score in step.found.items()})
        unscored.update({p: why.reason for p, why in step.unscored.items()})
    return found, unscored


UP, RIGHT, DOWN = vector(1, 0), vector(0, 1), vector(-1, 0)


@pytest.mark.parametrize("order", [(QUERY, A, B), (A, QUERY, B), (B, A, QUERY)])
async def test_in_whatever_order_they_come(order: Sequence[int]) -> None:
    vectors = {QUERY: UP, A: RIGHT, B: DOWN}
    steps = [Progress({place: vectors[place]}, source=Source.CACHE) for place in order]
    assert await said(*steps) == ({0: (0.5, Source.CACHE), 1: (0.0, Source.CACHE)}, {})


async def test_the_source_is_the_dearer_ones() -> None:
    found, _ = await said(
        Progress({A: UP}, source=Source.MODEL),
        Progress({B: UP}, source=Source.CACHE),
        Progress({QUERY: UP}, source=Source.SHARED),
    )
    assert found == {0: (1.0, Source.MODEL), 1: (1.0, Source.SHARED)}


@pytest.mark.parametrize("order", [(QUERY, A, B), (A, QUERY, B), (B, A, QUERY)])
async def test_without_the_querys_vector_each_document_fails(order: Sequence[int]) -> None:
    lost: Progress[Vector] = Progress(unscored={QUERY: FAILED})
    steps = [lost if place == QUERY else Progress({place: UP}) for place in order]
    assert await said(*steps) == ({}, {0: Reason.FAILED, 1: Reason.FAILED})


async def test_a_document_without_a_vector_has_no_score() -> None:
    refused = Unscored(Reason.NOT_CACHED)
    found, unscored = await said(Progress({QUERY: UP, B: UP}), Progress(unscored={A: refused}))
    assert found.keys() == {1}
    assert unscored == {0: Reason.NOT_CACHED}


async def test_vectors_of_other_dimensions_do_not_compare() -> None:
    found, unscored = await said(Progress({QUERY: UP, A: vector(1, 0, 0), B: RIGHT}))
    assert (found, unscored) == ({1: (0.5, Source.MODEL)}, {0: Reason.FAILED})


async def test_prefixes_stand_before_the_texts() -> None:
    vectors = Scripted()
    scorer = Similarity(vectors, "query: ", "passage: ")
    assert [step async for step in scorer.score(Ask("q"), [Candidate("a")])] == []
    assert vectors.asked == ["query: q", "passage: a"]
