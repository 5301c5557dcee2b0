"""Quality against cost: the axis, the sketch in the terminal, the picture."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.evaluation.asking import Answer
from rerankd_server.evaluation.axis import CostAxis, cost_axis
from rerankd_server.evaluation.collection import Query
from rerankd_server.evaluation.costs import Costs, money
from rerankd_server.evaluation.evaluate import Evaluation
from rerankd_server.evaluation.plot import draw
from rerankd_server.evaluation.sketch import sketch

DOLLARS = st.floats(0, 1e9).map(lambda amount: round(amount, 9))
PNG = b"\x89PNG\r\n\x1a\n"


def evaluation(
    quality: float, usd: float | None, tokens: int = 0, name: str = "m", spread: float = 0.1
) -> Evaluation:
    """Of two queries that cost `usd` and `tokens` together, half of it spent earlier."""
    spent = None if usd is None else usd / 2
    costs = Costs(full_tokens=tokens, spent_usd=spent, full_usd=usd)
    answers = [Answer(Query(str(n), "q", []), [], Costs(), 0.1) for n in range(2)]
    qualities = [{"nDCG@10": quality - spread}, {"nDCG@10": quality + spread}]
    return Evaluation(name, answers, qualities, costs, 1.0)


class TestAxis:
    def test_dollars_where_all_are_known(self) -> None:
        axis = cost_axis([evaluation(0.5, 0.5), evaluation(0.4, 0.0)])
        assert axis.label == "dollars per 1,000 queries, nothing cached"
        assert axis.costs == [250, 0]
        assert axis.text(2.5) == "$2.50"

    def test_tokens_where_one_is_not(self) -> None:
        axis = cost_axis([evaluation(0.5, 0.5, 30), evaluation(0.4, None, 2)])
        assert axis.label == "tokens per 1,000 queries, nothing cached"
        assert axis.costs == [15_000, 1000]
        assert axis.text(15_000) == "15,000"

    @given(st.lists(DOLLARS, min_size=1, max_size=5))
    def test_ticks_are_few_rise_and_stay_inside(self, costs: Sequence[float]) -> None:
        axis = CostAxis("u", costs, is_money=True)
        ticks = axis.ticks
        assert ticks[0] == 0
        assert list(ticks) == sorted(set(ticks))
        assert ticks[-1] <= max(costs)
        assert len(ticks) <= 7
        assert [axis.place(tick) for tick in ticks] == sorted(map(axis.place, ticks))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unknown"),
        (0.0, "$0"),
        (0.000123, "$0.00012"),
        (0.0067, "$0.0067"),
        (0.3, "$0.30"),
        (12.345, "$12.35"),
        (12345.6, "$12,346"),
    ],
)
def test_money(amount: float | None, text: str) -> None:
    assert money(amount) == text


def test_the_sketch_shows_each_model_at_its_quality_and_cost() -> None:
    drawn = sketch([evaluation(0.7, 0.02), evaluation(0.5, 0.002), evaluation(0.3, 0.0)], 80)
    rows = drawn.splitlines()
    assert rows[0] == "mean nDCG@10"
    assert rows[1].startswith("0.700 |")
    assert rows[6].startswith("0.500 |")
    assert rows[11].startswith("0.300 |3")
    assert rows[1].index("1") > rows[6].rindex("2") > rows[11].rindex("3")
    assert "$0 " in rows[13]
    assert rows[14].strip() == "dollars per 1,000 queries, nothing cached"


def test_no_tick_is_below_0() -> None:
    rows = sketch([evaluation(0.0, 0.0)], 80).splitlines()
    assert rows[1].startswith("0.020 |")
    assert rows[11].startswith("0.000 |1")


def test_models_at_one_place_stand_side_by_side() -> None:
    drawn = sketch([evaluation(0.5, None, name=str(n)) for n in range(11)], 80)
    assert drawn.splitlines()[1].split() == ["0.510", "|"]
    assert drawn.splitlines()[6].split("|")[1].split() == [str(n) for n in range(1, 12)]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.none() | DOLLARS), min_size=1, max_size=12),
    st.integers(1, 300),
)
def test_a_sketch_is_plain_and_never_too_wide(
    points: Sequence[tuple[float, float | None]], width: int
) -> None:
    drawn = sketch([evaluation(quality, usd) for quality, usd in points], width)
    assert drawn.isascii()
    assert max(map(len, drawn.splitlines())) <= min(80, max(50, width))


@pytest.mark.parametrize(
    "evaluations",
    [
        [evaluation(0.5, None)],
        [evaluation(0.5, 0.0, name="same"), evaluation(0.5, 0.0, name=r"$\no$")],
        [evaluation(0.7, 5.0, name="x" * 200), evaluation(0.2, 1e-5), evaluation(0.1, 0.0)],
        [Evaluation("m", evaluation(0, 0).answers[:1], [{"nDCG@10": 1.0}], Costs(), 0.1)],
    ],
)
def test_any_evaluations_make_a_picture(evaluations: list[Evaluation], tmp_path: Path) -> None:
    draw(evaluations, r"$\math is$ not meant", tmp_path / "plot")
    assert (tmp_path / "plot").read_bytes().startswith(PNG)
