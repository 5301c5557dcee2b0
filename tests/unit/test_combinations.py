"""Scorers made of scorers: whatever the parts say, in any order, each candidate has one end."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.blend import Blend
from rerankd_server.scoring.cascade import Cascade
from rerankd_server.scoring.mean import Mean
from rerankd_server.scoring.parts import dearest
from rerankd_server.scoring.prior import PriorScorer, scaled_to_one
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Progress,
    Reason,
    Score,
    Scorer,
    Source,
    Unscored,
    Usage,
)

ASK = Ask("q")
COUNT = 5
CANDIDATES = [Candidate(str(n)) for n in range(COUNT)]


@dataclass
class Scripted(Scorer):
    """Says what it is told about the candidate whose text is a position, in the order given."""

    outcomes: dict[str, Score | Unscored]
    order: Sequence[int] = range(COUNT)
    sources: dict[str, Source] = field(default_factory=dict)
    interim: dict[str, float] = field(default_factory=dict)
    """What stands in, said right before the outcome."""
    asked: list[list[str]] = field(default_factory=list)
    closed: int = 0

    def standing(self, number: int) -> float | None:
        outcome = self.outcomes[str(number)]
        return outcome.value if isinstance(outcome, Score) else self.interim.get(str(number))

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        texts = [candidate.text for candidate in candidates]
        self.asked.append(texts)
        try:
            for number in self.order:
                if str(number) not in texts:
                    continue
                position, outcome = texts.index(str(number)), self.outcomes[str(number)]
                source = self.sources.get(str(number), Source.CACHE)
                usage = Usage(model_calls=1)
                await asyncio.sleep(0)
                if str(number) in self.interim:
                    yield Progress(interim={position: Score(self.interim[str(number)])})
                    await asyncio.sleep(0)
                if isinstance(outcome, Score):
                    yield Progress({position: outcome}, source=source, usage=usage)
                else:
                    yield Progress(unscored={position: outcome}, usage=usage)
        finally:
            self.closed += 1


class Ends:
    """What a scorer said in the end, checked for saying it once."""

    def __init__(self) -> None:
        self.values: dict[int, float] = {}
        self.sources: dict[int, Source] = {}
        self.unscored: dict[int, Reason] = {}
        self.interim: dict[int, float] = {}
        self.usage = Usage()

    async def follow(self, scorer: Scorer, candidates: Sequence[Candidate] = CANDIDATES) -> "Ends":
        async with aclosing(scorer.score(ASK, candidates)) as steps:
            async for step in steps:
                for position in (*step.found, *step.unscored):
                    assert position not in self.values
                    assert position not in self.unscored
                for position, score in step.found.items():
                    assert 0 <= score.value == round(score.value, 6) <= 1
                    self.values[position] = score.value
                    self.sources[position] = step.source
                self.unscored.update({p: why.reason for p, why in step.unscored.items()})
                self.interim.update({p: score.value for p, score in step.interim.items()})
                self.usage += step.usage
        assert sorted((*self.values, *self.unscored)) == list(range(len(candidates)))
        return self


def says(*values: float | None, order: Sequence[int] = range(COUNT)) -> Scripted:
    """A part that gives these scores; None is a refusal."""
    refused = Unscored(Reason.REFUSED)
    outcomes = [refused if value is None else Score(value) for value in values]
    return Scripted({str(n): outcome for n, outcome in enumerate(outcomes)}, order)


values = st.one_of(st.none(), st.integers(0, 1_000_000).map(lambda micro: micro / 1_000_000))
outcomes = st.one_of(
    values.map(lambda value: Unscored(Reason.REFUSED) if value is None else Score(value)),
    st.sampled_from([Unscored(Reason.FAILED), Unscored(Reason.NOT_CACHED)]),
)
parts = st.builds(
    Scripted,
    st.lists(outcomes, min_size=COUNT, max_size=COUNT).map(
        lambda all_: {str(n): outcome for n, outcome in enumerate(all_)}
    ),
    st.permutations(range(COUNT)),
    st.dictionaries(st.sampled_from("01234"), st.sampled_from(list(Source))),
    st.dictionaries(st.sampled_from("01234"), st.integers(0, 10).map(lambda tenths: tenths / 10)),
)


@given(parts, parts, st.floats(0.01, 9))
def test_a_mean_says_one_thing_of_each(one: Scripted, other: Scripted, weight: float) -> None:
    ends = asyncio.run(Ends().follow(Mean([one, other], [weight, 1])))
    for n in range(COUNT):
        a, b = one.outcomes[str(n)], other.outcomes[str(n)]
        if isinstance(a, Score) and isinstance(b, Score):
            expected = (weight * a.value + b.value) / (weight + 1)
            assert ends.values[n] == pytest.approx(expected, abs=1e-6)
        else:
            assert ends.unscored[n] in {u.reason for u in (a, b) if isinstance(u, Unscored)}
            lesser = one.standing(n), other.standing(n)
            if None in lesser:
                assert n not in ends.interim
            else:
                expected = (weight * (lesser[0] or 0) + (lesser[1] or 0)) / (weight + 1)
                assert ends.interim[n] == pytest.approx(expected, abs=1e-6)
    assert ends.usage == Usage(model_calls=2 * COUNT)
    assert one.closed == other.closed == 1


@given(parts, parts, st.floats(0, 1))
def test_a_blend_says_one_thing_of_each(one: Scripted, prior: Scripted, weight: float) -> None:
    ends = asyncio.run(Ends().follow(Blend(one, prior, weight)))
    priors = {n: s.value for n, s in enumerate(in_order(prior)) if isinstance(s, Score)}
    lost = any(isinstance(s, Unscored) and s.reason is Reason.FAILED for s in in_order(prior))
    scaled = {} if lost else scaled_to_one(priors)
    for n, (score, second) in enumerate(zip(in_order(one), in_order(prior), strict=True)):
        lesser = one.standing(n)
        is_opinion = lost or isinstance(second, Score) or second.reason is Reason.REFUSED
        if isinstance(score, Unscored):
            assert ends.unscored[n] is score.reason
            assert (n in ends.interim) == (lesser is not None and is_opinion)
        if n in ends.interim:
            share = weight if n in scaled else 0
            expected = (1 - share) * (lesser or 0) + share * scaled.get(n, 0)
            assert ends.interim[n] == pytest.approx(expected, abs=1e-6) or n in ends.values
        if isinstance(score, Unscored):
            continue
        if lost:  # the plain scores stand in, for all
            assert ends.unscored[n] is Reason.FAILED
            assert ends.interim[n] == score.value
        elif isinstance(second, Unscored) and second.reason is not Reason.REFUSED:
            assert ends.unscored[n] is second.reason
        elif n in scaled:
            expected = (1 - weight) * score.value + weight * scaled[n]
            assert ends.values[n] == pytest.approx(expected, abs=1e-6)
        else:
            assert ends.values[n] == score.value
    assert ends.usage == Usage(model_calls=2 * COUNT)


def in_order(part: Scripted) -> list[Score | Unscored]:
    return [part.outcomes[str(n)] for n in range(COUNT)]


@given(parts, parts, st.one_of(st.floats(0, 1), st.integers(1, 7)))
def test_a_cascade_says_one_thing_of_each(cheap: Scripted, careful: Scripted, gate: float) -> None:
    top_k = gate if isinstance(gate, int) else None
    threshold = None if isinstance(gate, int) else gate
    ends = asyncio.run(Ends().follow(Cascade(cheap, careful, threshold, top_k)))
    known = {n: value for n in range(COUNT) if (value := cheap.standing(n)) is not None}
    failed = [
        n
        for n, first in enumerate(in_order(cheap))
        if n not in known and isinstance(first, Unscored) and first.reason is Reason.FAILED
    ]
    if top_k is None:
        promising = sorted([*failed, *(n for n, value in known.items() if value >= gate)])
    else:
        promising = sorted([*sorted(known, key=lambda n: -known[n]), *failed][:top_k])
    assert careful.asked == ([[str(n) for n in promising]] if promising else [])
    for n, first in enumerate(in_order(cheap)):
        second = careful.outcomes[str(n)]
        standing = None if n not in known else known[n] / 10
        if n in promising:
            better = careful.interim.get(str(n))
            if isinstance(second, Score):
                assert ends.values[n] == pytest.approx(0.1 + 0.9 * second.value, abs=1e-6)
                continue
            assert ends.unscored[n] is second.reason
            standing = standing if better is None else 0.1 + 0.9 * better
        elif isinstance(first, Score):
            assert ends.values[n] == pytest.approx(standing, abs=1e-6)
            continue
        else:
            assert ends.unscored[n] is first.reason
        assert ends.interim.get(n) == (
            None if standing is None else pytest.approx(standing, abs=1e-6)
        )


async def test_what_was_judged_with_care_stands_above_what_was_not() -> None:
    cheap, careful = says(1, 0.9, 0.8, 0.2, 0.1), says(0, 0.5, 1, 1, 1)
    ends = await Ends().follow(Cascade(cheap, careful, threshold=0.5))
    assert sorted(ends.values, key=lambda n: -ends.values[n]) == [2, 1, 0, 3, 4]


async def test_a_score_made_of_several_is_from_the_dearest_source() -> None:
    one, other = says(1, 1, 1, 1, 1), says(0, 0, 0, 0, 0)
    one.sources = {"0": Source.MODEL, "1": Source.SHARED, "2": Source.CACHE}
    other.sources = {"0": Source.CACHE, "1": Source.CACHE, "3": Source.SHARED, "4": Source.MODEL}
    for scorer in (Mean([one, other]), Blend(one, other, 0.5)):
        ends = await Ends().follow(scorer)
        assert [ends.sources[n] for n in range(COUNT)] == [
            Source.MODEL,
            Source.SHARED,
            Source.CACHE,
            Source.SHARED,
            Source.MODEL,
        ]
    assert dearest([Source.CACHE]) is Source.CACHE


async def test_what_stands_in_has_a_source_too() -> None:
    """An answer from the cache alone says so, also where a better score is not stored."""
    cascade = Cascade(says(1, 1, 1, 1, 1), says(None, None, None, None, None), threshold=0)
    for scorer in (Mean([cascade, says(0, 0, 0, 0, 0)]), Blend(cascade, says(0, 0, 0, 0, 1), 0.1)):
        async with aclosing(scorer.score(ASK, CANDIDATES)) as steps:
            sources = {step.source async for step in steps if step.interim}
        assert sources == {Source.CACHE}


async def test_a_blend_speaks_as_soon_as_all_of_the_prior_is_known() -> None:
    """The prior first: then each score comes through by itself."""
    blend = Blend(says(0.1, 0.2, 0.3, 0.4, 0.5), PriorScorer(), 0.1)
    candidates = [Candidate(str(n), prior=n) for n in range(COUNT)]
    async with aclosing(blend.score(ASK, candidates)) as steps:
        found = [sorted(step.found) for step in steps_of([s async for s in steps])]
    assert found == [[0], [1], [2], [3], [4]]


def steps_of(steps: Sequence[Progress]) -> list[Progress]:
    return [step for step in steps if step.found]


async def test_closing_a_combination_closes_its_parts() -> None:
    one, other = says(1, 1, 1, 1, 1), says(1, 1, 1, 1, 1)
    for scorer in (Mean([one, other]), Blend(one, other, 0.1), Cascade(one, other, 0.0)):
        one.closed = other.closed = 0
        other.asked.clear()
        async with aclosing(scorer.score(ASK, CANDIDATES)) as steps:
            await anext(steps)
        assert one.closed == 1
        assert other.closed == len(other.asked)


async def test_a_parts_defect_is_raised() -> None:
    broken = Scripted({})
    for scorer in (Mean([broken, says(1, 1, 1, 1, 1)]), Blend(says(1, 1, 1, 1, 1), broken, 0.1)):
        with pytest.raises(KeyError):
            await Ends().follow(scorer)


@given(st.dictionaries(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_scaling_keeps_the_order_within_0_and_1(numbers: dict[int, float]) -> None:
    scaled = scaled_to_one(numbers)
    assert bool(scaled) == (len(set(numbers.values())) > 1)
    if scaled:
        assert (min(scaled.values()), max(scaled.values())) == (0, 1)
        order = sorted(numbers, key=lambda n: numbers[n])
        assert all(scaled[a] <= scaled[b] for a, b in itertools.pairwise(order))


async def test_the_prior_alone_ranks_what_has_one() -> None:
    candidates = [Candidate("a", 5), Candidate("b"), Candidate("c", -5), Candidate("d", 0)]
    ends = await Ends().follow(PriorScorer(), candidates)
    assert ends.values == {0: 1, 2: 0, 3: 0.5}
    assert ends.unscored == {1: Reason.REFUSED}
