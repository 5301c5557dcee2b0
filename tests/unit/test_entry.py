"""Which of two scores of a pair is kept."""

import pytest

from rerankd_server.caching.entry import Entry, Row, Standing, decide
from rerankd_server.caching.envelope import seal
from rerankd_server.scoring.scorer import Score

KEY = bytes(32)
OLD, NEW = Score(0.1, scored_at=100), Score(0.9, scored_at=100)
STANDING = Standing(revision=9, floor=5)
DAMAGED = b"damaged"


def entry(since: int, *, is_refresh: bool = False) -> Entry:
    return Entry(NEW, seal(KEY, NEW), since, is_refresh)


def row(since: int, value: bytes | None = None) -> Row:
    return Row(seal(KEY, OLD) if value is None else value, since)


@pytest.mark.parametrize(
    ("came", "stored", "outcome", "has_replaced"),
    [
        (entry(7), None, NEW, False),
        (entry(7), row(6), OLD, False),
        (entry(7), row(8), OLD, False),
        (entry(7, is_refresh=True), row(6), NEW, True),
        (entry(7, is_refresh=True), row(7), OLD, False),
        (entry(7, is_refresh=True), row(8), OLD, False),
        (entry(7), row(8, DAMAGED), NEW, True),
        # What was sent before the purge is not stored, and what was stored before it is given to
        # nobody, also while the purge has not come to it yet.
        (entry(4), None, None, False),
        (entry(4, is_refresh=True), row(3), None, False),
        (entry(4, is_refresh=True), row(6), OLD, False),
        (entry(4), row(6, DAMAGED), None, False),
        (entry(7), row(4), NEW, True),
        (entry(7, is_refresh=True), row(4), NEW, True),
    ],
)
def test_one_of_two_is_kept_and_given_to_both(
    came: Entry, stored: Row | None, outcome: Score | None, has_replaced: bool
) -> None:
    rows = {} if stored is None else {KEY: stored}
    decision = decide({KEY: came}, rows, STANDING, lambda _: True)
    assert decision.outcome == {KEY: outcome}
    assert decision.chosen == ({KEY: Row(came.value, came.since)} if outcome == NEW else {})
    assert decision.has_replaced is has_replaced


def test_what_is_too_old_is_replaced_and_nobody_has_it_in_memory() -> None:
    decision = decide({KEY: entry(7)}, {KEY: row(8)}, STANDING, lambda _: False)
    assert decision.outcome == {KEY: NEW}
    assert not decision.has_replaced


def test_a_request_between_two_revisions_is_later_than_the_one_and_earlier_than_the_other() -> None:
    for revision in (8, 9):
        standing = Standing(revision)
        assert revision < standing.between < standing.next
        between = entry(standing.between, is_refresh=True)
        kept = decide({KEY: between}, {KEY: row(revision)}, standing, lambda _: True)
        assert kept.outcome == {KEY: NEW}
        handed = Standing(standing.next)
        lost = decide({KEY: between}, {KEY: row(standing.next)}, handed, lambda _: True)
        assert lost.outcome == {KEY: OLD}
        later = decide(
            {KEY: entry(standing.next, is_refresh=True)},
            {KEY: kept.chosen[KEY]},
            handed,
            lambda _: True,
        )
        assert later.outcome == {KEY: NEW}


def test_no_score_is_stored_by_a_revision_to_come() -> None:
    """As that of another database, which was damaged and begun anew."""
    decision = decide({KEY: entry(99, is_refresh=True)}, {}, STANDING, lambda _: True)
    assert decision.chosen[KEY].since == STANDING.between
