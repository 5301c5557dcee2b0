"""Refusals in memory: reasons that are remembered for a while, and are never scores."""

from rerankd_server.caching.refusals import Refusals
from rerankd_server.errors import RequestRejectedError
from rerankd_server.scoring.scorer import Detail, Reason, Unscored

KEY, OTHER = b"q" * 16 + b"a" * 16, b"q" * 16 + b"b" * 16
CUT_OFF = Unscored(Reason.REFUSED, detail=Detail.CUT_OFF, max_tokens=8)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_refusal_is_remembered_for_a_while() -> None:
    time = Time()
    refusals = Refusals(600, time)
    refusals.note({KEY: CUT_OFF})
    time.now = 599.9
    (found,) = refusals.find([KEY, OTHER]).values()
    assert (found.reason, found.detail, found.max_tokens) == (Reason.REFUSED, Detail.CUT_OFF, 8)
    assert not found.was_asked
    time.now = 600
    assert refusals.find([KEY]) == {}


def test_what_is_known_anew_counts_anew() -> None:
    time = Time()
    refusals = Refusals(600, time)
    refusals.note({KEY: CUT_OFF})
    time.now = 500
    refusals.note({KEY: Unscored(Reason.REFUSED, detail=Detail.DECLINED)})
    time.now = 1000
    assert refusals.find([KEY])[KEY].detail is Detail.DECLINED


def test_who_has_a_score_is_not_refused_any_more() -> None:
    refusals = Refusals(600)
    refusals.note({KEY: CUT_OFF, OTHER: CUT_OFF})
    refusals.forget([KEY, KEY])
    assert refusals.find([KEY, OTHER]).keys() == {OTHER}


def test_only_what_the_model_itself_said_is_remembered() -> None:
    refusals = Refusals(600)
    refusals.note({KEY: Unscored(Reason.FAILED, RequestRejectedError("no"))})
    refusals.note({OTHER: Unscored(Reason.REFUSED, detail=Detail.CUT_OFF, was_asked=False)})
    assert refusals.find([KEY, OTHER]) == {}


def test_none_is_remembered_for_no_time() -> None:
    refusals = Refusals(0)
    refusals.note({KEY: CUT_OFF})
    assert refusals.find([KEY]) == {}
