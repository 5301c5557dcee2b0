"""The cache around a scorer: what is asked, what is stored, what is seen."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rerankd_server.caching.cached import Cached
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.errors import ProviderUnavailableError, ShuttingDownError
from rerankd_server.scoring.scorer import (
    Ask,
    CacheMode,
    Candidate,
    Progress,
    Reason,
    Score,
    Source,
    Unscored,
    Usage,
)
from rerankd_server.scoring.truncated import Truncated
from support.scorers import FakeScorer, Outcome


@dataclass
class Parts:
    scorer: FakeScorer
    cached: Cached
    store: Store


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncGenerator[Parts]:
    store = Store(tmp_path, SMALLEST_LIMIT)
    await store.open()
    scorer = FakeScorer()
    yield Parts(scorer, Cached(scorer, Memory(store, 0)), store)
    await store.close()


ASK = Ask("q")


def with_mode(mode: CacheMode) -> Ask:
    return Ask("q", cache_mode=mode)


async def run(cached: Cached, texts: Sequence[str], ask: Ask = ASK) -> list[Progress]:
    candidates = [Candidate(text) for text in texts]
    return [step async for step in cached.score(ask, candidates)]


def outcomes(steps: Sequence[Progress]) -> dict[int, float | Reason]:
    found: dict[int, float | Reason] = {}
    for step in steps:
        for position, score in step.found.items():
            assert position not in found
            found[position] = score.value
        for position, unscored in step.unscored.items():
            assert position not in found
            found[position] = unscored.reason
    return found


def usage(steps: Sequence[Progress]) -> Usage:
    return sum((step.usage for step in steps), Usage())


async def test_only_what_is_missing_is_asked_for(parts: Parts) -> None:
    await run(parts.cached, ["0.1", "0.2"])
    steps = await run(parts.cached, ["0.3", "0.2", "0.1"])
    assert parts.scorer.asked == ["0.1", "0.2", "0.3"]
    assert outcomes(steps) == {0: 0.3, 1: 0.2, 2: 0.1}
    assert [step.source for step in steps] == [Source.CACHE, Source.MODEL]
    assert usage(steps) == Usage(cached_pairs=2, scored_pairs=1, model_calls=1)


async def test_a_stored_zero_is_a_hit(parts: Parts) -> None:
    await run(parts.cached, ["0"])
    steps = await run(parts.cached, ["0"])
    assert parts.scorer.asked == ["0"]
    assert outcomes(steps) == {0: 0.0}


async def test_equal_documents_are_asked_for_once_and_all_get_the_score(parts: Parts) -> None:
    for source in (Source.MODEL, Source.CACHE):
        steps = await run(parts.cached, ["0.5", "0.1", "0.5", "0.5"])
        assert outcomes(steps) == {0: 0.5, 1: 0.1, 2: 0.5, 3: 0.5}
        assert {step.source for step in steps} == {source}
        assert usage(steps).cached_pairs + usage(steps).scored_pairs == 2
    assert parts.scorer.asked == ["0.5", "0.1"]


@pytest.mark.parametrize(
    "other", [Ask("Q"), Ask("q "), Ask("q", "instruction")], ids=["query", "space", "instruction"]
)
async def test_another_query_or_instruction_is_another_pair(parts: Parts, other: Ask) -> None:
    await run(parts.cached, ["0.1"])
    await run(parts.cached, ["0.1"], other)
    assert parts.scorer.asked == ["0.1", "0.1"]


async def test_another_identity_is_another_pair(parts: Parts) -> None:
    other = FakeScorer()
    other.identity = {"kind": "fake", "temperature": "1"}
    await run(parts.cached, ["0.1"])
    await run(Cached(other, Memory(parts.store, 0)), ["0.1"])
    assert (parts.scorer.asked, other.asked) == (["0.1"], ["0.1"])


async def test_only_if_cached_asks_nobody(parts: Parts) -> None:
    await run(parts.cached, ["0.1"])
    steps = await run(parts.cached, ["0.2", "0.1", "0.2"], with_mode(CacheMode.ONLY_IF_CACHED))
    assert parts.scorer.asked == ["0.1"]
    assert outcomes(steps) == {0: Reason.NOT_CACHED, 1: 0.1, 2: Reason.NOT_CACHED}
    assert usage(steps) == Usage(cached_pairs=1, unscored_pairs=1)


async def test_refresh_asks_again_and_replaces(parts: Parts) -> None:
    await run(parts.cached, ["0.1"])
    parts.scorer.outcome = lambda text: Score(0.9)
    steps = await run(parts.cached, ["0.1"], with_mode(CacheMode.REFRESH))
    assert outcomes(steps) == {0: 0.9}
    assert outcomes(await run(parts.cached, ["0.1"])) == {0: 0.9}
    assert parts.scorer.asked == ["0.1", "0.1"]


async def test_bypass_neither_reads_nor_writes(parts: Parts) -> None:
    await run(parts.cached, ["0.1"])
    parts.scorer.outcome = lambda text: Score(0.9)
    bypass = with_mode(CacheMode.BYPASS)
    assert outcomes(await run(parts.cached, ["0.1", "0.2", "0.2"], bypass)) == dict.fromkeys(
        range(3), 0.9
    )
    assert parts.scorer.asked == ["0.1", "0.1", "0.2"]
    assert outcomes(await run(parts.cached, ["0.1"])) == {0: 0.1}
    assert await parts.store.count() == 1


@pytest.mark.parametrize(
    "unscored",
    [
        Unscored(Reason.REFUSED),
        Unscored(Reason.FAILED, ProviderUnavailableError("down", 1.0)),
    ],
)
async def test_what_has_no_score_is_never_stored(parts: Parts, unscored: Unscored) -> None:
    def once_refused(text: str) -> Outcome:
        return unscored if len(parts.scorer.asked) == 1 else Score(0.4)

    parts.scorer.outcome = once_refused
    assert outcomes(await run(parts.cached, ["x", "x"])) == dict.fromkeys((0, 1), unscored.reason)
    assert await parts.store.count() == 0
    assert outcomes(await run(parts.cached, ["x"])) == {0: 0.4}


async def test_a_score_is_stored_before_it_is_seen(parts: Parts) -> None:
    candidates = [Candidate("0.1"), Candidate("0.2")]
    seen = 0
    async for step in parts.cached.score(ASK, candidates):
        seen += len(step.found)
        assert await parts.store.count() >= seen > 0


async def test_who_leaves_pays_for_what_is_sent_and_for_nothing_else(parts: Parts) -> None:
    parts.scorer.gate.clear()
    candidates = [Candidate(f"0.{n}") for n in range(1, 6)]

    async def leave_early() -> None:
        async with aclosing(parts.cached.score(ASK, candidates)) as steps:
            async for _ in steps:
                raise AssertionError("nothing can arrive behind the gate")

    caller = asyncio.create_task(leave_early())
    await parts.scorer.waiting.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    parts.scorer.gate.set()
    await parts.cached.drain()
    assert parts.scorer.asked == ["0.1"]
    assert outcomes(await run(parts.cached, ["0.1"], with_mode(CacheMode.ONLY_IF_CACHED))) == {
        0: 0.1
    }


async def test_who_still_waits_at_the_end_is_told_and_what_was_sent_is_stored(
    parts: Parts,
) -> None:
    parts.scorer.gate.clear()
    caller = asyncio.create_task(run(parts.cached, ["0.1", "0.2"]))
    await parts.scorer.waiting.wait()
    parts.cached.dismiss()
    with pytest.raises(ShuttingDownError):
        await caller
    parts.scorer.gate.set()
    await parts.cached.drain()
    assert parts.scorer.asked == ["0.1"]
    assert await parts.store.count() == 1


async def test_what_does_not_arrive_before_the_end_is_given_up(parts: Parts) -> None:
    parts.scorer.gate.clear()
    caller = asyncio.create_task(run(parts.cached, ["0.1"]))
    await parts.scorer.waiting.wait()
    with capture_logs() as logs:
        await parts.cached.give_up()
    with pytest.raises(ShuttingDownError):
        await caller
    assert [log["event"] for log in logs] == ["calls given up at shutdown"]


async def test_a_scorers_defect_reaches_the_caller(parts: Parts) -> None:
    def defect(text: str) -> Outcome:
        raise ZeroDivisionError

    parts.scorer.outcome = defect
    with pytest.raises(ZeroDivisionError):
        await run(parts.cached, ["x"])


async def test_a_defect_that_no_caller_waits_for_is_logged(parts: Parts) -> None:
    def defect(text: str) -> Outcome:
        raise ZeroDivisionError("private words")

    parts.scorer.outcome = defect
    parts.scorer.gate.clear()
    caller = asyncio.create_task(run(parts.cached, ["x"]))
    await parts.scorer.waiting.wait()
    caller.cancel()
    await asyncio.wait({caller})
    with capture_logs() as logs:
        parts.scorer.gate.set()
        await parts.cached.drain()
    assert [(log["event"], log["error"]) for log in logs] == [("defect", "ZeroDivisionError")]
    assert "private" not in str(logs)


async def test_documents_are_cut_before_they_are_looked_up(parts: Parts) -> None:
    cut = Truncated(parts.cached, 4)
    documents = ["0.12345", "0.12", "0.1", "0.129"]
    steps = [step async for step in cut.score(ASK, [Candidate(text) for text in documents])]
    assert parts.scorer.asked == ["0.12", "0.1"]
    assert outcomes(steps) == {0: 0.12, 1: 0.12, 2: 0.1, 3: 0.12}


async def test_a_cut_falls_between_characters(parts: Parts) -> None:
    parts.scorer.outcome = lambda text: Score(0.5)
    texts = ["ab😀d", "ab😀", "日本語テキスト"]
    cut = Truncated(parts.cached, 3)
    _ = [step async for step in cut.score(ASK, [Candidate(text) for text in texts])]
    assert parts.scorer.asked == ["ab😀", "日本語"]


async def test_what_is_in_memory_is_recalled_at_once(parts: Parts) -> None:
    cached = Cached(parts.scorer, Memory(parts.store, 1 << 20))
    asked = [Candidate(text) for text in ("0.5", "0.1", "0.5", "0.9")]
    assert cached.recall(ASK, asked) is None
    await run(cached, ["0.5", "0.1"])
    assert cached.recall(ASK, asked) is None
    await run(cached, ["0.9"])
    known = cached.recall(ASK, asked)
    assert known
    assert [score.value for score in known.found] == [0.5, 0.1, 0.5, 0.9]
    assert known.found[0] is known.found[2]
    assert known.pairs[0] == known.pairs[2]
    assert len({*known.pairs}) == 3
    for mode in (CacheMode.REFRESH, CacheMode.BYPASS):
        assert cached.recall(with_mode(mode), asked) is None
    assert cached.recall(with_mode(CacheMode.ONLY_IF_CACHED), asked) == known


@pytest.mark.parametrize("room", [0, 1 << 20], ids=["disk", "memory"])
async def test_documents_that_are_cut_alike_are_recalled_as_one_pair(
    parts: Parts, room: int
) -> None:
    cached = Cached(parts.scorer, Memory(parts.store, room))
    await run(cached, ["0.12", "0.1"])
    asked = [Candidate(text) for text in ("0.12345", "0.1", "0.12", "0.129")]
    known = Truncated(cached, 4).recall(ASK, asked)
    assert known
    assert [score.value for score in known.found] == [0.12, 0.1, 0.12, 0.12]
    assert known.pairs[0] == known.pairs[2] == known.pairs[3] != known.pairs[1]
    assert known.found[0] is known.found[2] is known.found[3]


@pytest.mark.parametrize("room", [0, 1 << 20], ids=["disk", "memory"])
async def test_pairs_that_have_equal_scores_are_recalled_as_two(parts: Parts, room: int) -> None:
    cached = Cached(parts.scorer, Memory(parts.store, room))
    await run(cached, ["0.5 a", "0.5 b"])
    known = cached.recall(ASK, [Candidate("0.5 a"), Candidate("0.5 b")])
    assert known
    assert [score.value for score in known.found] == [0.5, 0.5]
    assert known.found[0] is not known.found[1]
    assert known.pairs[0] != known.pairs[1]
