"""How good rankings are, by hand and as ir-measures computes it; and how sure that is."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.evaluation.collection import Candidate, Query
from rerankd_server.evaluation.measures import MRR, NDCG, RECALL, Quality, measure, scored
from rerankd_server.evaluation.reading import Files, read_collection
from rerankd_server.evaluation.significance import holm, randomization_test
from support.trec import FOLDER, Topic, ndcg, needs_trec, topics


def query(labels: Sequence[int | None], elsewhere: Sequence[int] = ()) -> Query:
    candidates = [Candidate(f"d{n}", "text", label) for n, label in enumerate(labels)]
    return Query("1", "q", candidates, tuple(elsewhere))


def quality(labels: Sequence[int | None], elsewhere: Sequence[int] = (), rel: int = 1) -> Quality:
    """The quality of candidates in the order that they are in."""
    return measure([(query(labels, elsewhere), range(len(labels)))], rel)[0]


class TestMeasures:
    def test_by_hand(self) -> None:
        found = quality([None, 1, 0, 3], [2])
        ideal = 3 + 2 / math.log2(3) + 1 / 2
        assert found[NDCG] == pytest.approx((1 / math.log2(3) + 3 / math.log2(5)) / ideal)
        assert found[MRR] == pytest.approx(1 / 2)
        assert found[RECALL] == pytest.approx(2 / 3)

    def test_the_least_relevant_label_counts_for_mrr_and_recall_alone(self) -> None:
        one, two = quality([1, 0, 2], [2], rel=1), quality([1, 0, 2], [2], rel=2)
        assert one[NDCG] == two[NDCG]
        assert (one[MRR], one[RECALL]) == pytest.approx((1, 2 / 3))
        assert (two[MRR], two[RECALL]) == pytest.approx((1 / 3, 1 / 2))

    def test_the_first_ten_count(self) -> None:
        assert quality([0] * 10 + [1]) == {NDCG: 0, MRR: 0, RECALL: 0}
        assert quality([0] * 9 + [1]) == pytest.approx(
            {NDCG: 1 / math.log2(11), MRR: 0.1, RECALL: 1}
        )

    def test_nothing_relevant_is_worth_nothing(self) -> None:
        assert quality([0, 0]) == {NDCG: 0, MRR: 0, RECALL: 0}
        assert quality([None, -2]) == {NDCG: 0, MRR: 0, RECALL: 0}

    def test_labels_below_0_are_as_0(self) -> None:
        assert quality([-2, 1, 1]) == quality([0, 1, 1])

    def test_each_query_has_its_own_quality(self) -> None:
        found = measure([(query([1, 0]), [0, 1]), (query([1, 0]), [1, 0])])
        assert [each[MRR] for each in found] == [1, 0.5]

    def test_scores_fall_with_each_place(self) -> None:
        assert list(scored([2, 0, 1])) == [(2, 3.0), (0, 2.0), (1, 1.0)]

    @given(st.permutations(range(12)), st.lists(st.integers(0, 3), min_size=12, max_size=20))
    def test_ndcg_is_gain_by_label_over_the_ideal(self, order: list[int], all_: list[int]) -> None:
        labels, elsewhere = all_[:12], all_[12:]
        topic = Topic("q", ["text"] * 12, labels, labels, all_)
        found = measure([(query(labels, elsewhere), order)])[0]
        assert found[NDCG] == pytest.approx(ndcg(topic, order))


@needs_trec
@pytest.mark.parametrize("name", ["dl19", "dl20"])
def test_ndcg_of_real_topics(name: str) -> None:
    queries = read_collection(Files(FOLDER / f"{name}.jsonl.gz")).queries
    found = topics(name)
    assert [each.text for each in queries] == [topic.query for topic in found]
    orders = [sorted(range(len(topic.texts)), key=lambda i: topic.texts[i]) for topic in found]
    qualities = measure(list(zip(queries, orders, strict=True)))
    assert [each[NDCG] for each in qualities] == pytest.approx(
        [ndcg(topic, order) for topic, order in zip(found, orders, strict=True)]
    )


class TestSignificance:
    def test_few_queries_are_turned_round_in_every_way(self) -> None:
        # Of 2 ** 4 ways, all of one sign are as far from 0: two of them.
        assert randomization_test([4, 5, 6, 7], [1, 1, 1, 1]) == pytest.approx(2 / 16)
        # |1 + 2 - 4| is reached or passed by all but none: 7 4 2 1 -1 -2 -4 -7 are not below 1.
        assert randomization_test([1, 2, 0], [0, 0, 4]) == 1

    def test_it_is_two_sided(self) -> None:
        one, other = [0.1, 0.2, 0.3, 0.9, 0.4], [0.2, 0.3, 0.1, 1.0, 0.9]
        assert randomization_test(one, other) == randomization_test(other, one)

    def test_many_queries_are_drawn_the_same_each_time(self) -> None:
        one = [0.5 + n % 7 / 20 for n in range(60)]
        other = [0.5 + n % 5 / 20 for n in range(60)]
        found = randomization_test(one, other)
        assert found == randomization_test(one, other)
        assert 0.0 < found < 0.05

    def test_no_difference_is_no_evidence(self) -> None:
        assert randomization_test([0.3] * 30, [0.3] * 30) == 1
        assert randomization_test([0.3], [0.9]) == 1

    def test_holm_by_hand(self) -> None:
        assert holm([0.01, 0.04, 0.03], 3) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([0.01, 0.04, 0.03], 6) == pytest.approx([0.06, 0.16, 0.15])
        assert holm([0.6, 0.7], 3) == [1, 1]
        assert holm([0.02], 1) == [0.02]
        assert holm([], 0) == []
