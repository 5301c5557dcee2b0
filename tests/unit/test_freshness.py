"""How old a score may be."""

import pytest

from rerankd_server.caching.freshness import Freshness
from rerankd_server.scoring.scorer import Score


@pytest.mark.parametrize(
    ("ttl", "now", "scored_at", "is_fresh"),
    [
        (None, 0, 1 << 40, True),
        (60, 1060.9, 1000, True),
        (60, 1061, 1000, False),
        # A score keeps its second alone: one that was bought just now is fresh in any case.
        (0.1, 1000.95, 1000, True),
        (0.1, 1001.05, 1000, True),
        (0.1, 1001.2, 1000, False),
        (0.1, 1000.1, 1001, False),
        # From the future: clocks differ a little, or one was wrong.
        (3600, 1000, 1060, True),
        (3600, 1000, 1061, False),
        (5, 1000, 1006, False),
        (60, -5, -10, True),
        (60, 1e12, 1000, False),
    ],
)
def test_a_score_may_be_used_for_a_while(
    ttl: float | None, now: float, scored_at: int, is_fresh: bool
) -> None:
    freshness = Freshness(ttl, lambda: now)
    assert freshness.is_fresh(scored_at) is is_fresh
    assert freshness.are_fresh([Score(0.5, scored_at=scored_at)]) is is_fresh
    found = {b"key": Score(0.5, scored_at=scored_at)}
    assert freshness.among(found) == (found if is_fresh else {})


def test_all_have_to_be_fresh() -> None:
    freshness = Freshness(60, lambda: 1000)
    young, old = Score(0.5, scored_at=1000), Score(0.5, scored_at=900)
    assert freshness.are_fresh([young])
    assert not freshness.are_fresh([young, old])
    assert Freshness(None).are_fresh([old])
    assert Freshness(None).are_fresh([young])


def test_those_that_may_be_used_are_picked() -> None:
    freshness = Freshness(60, lambda: 1000)
    young, old = Score(0.5, scored_at=1000), Score(0.5, scored_at=900)
    assert freshness.among({b"young": young, b"old": old}) == {b"young": young}
