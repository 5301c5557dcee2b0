"""The lexical scorer: words that both share, weighed by how rare they are."""

import pytest

from rerankd_server.scoring.lexical import LexicalScorer, query_weights, relevance
from rerankd_server.scoring.scorer import Ask, Candidate, Judgement
from support.trec import by_score, ndcg, needs_trec, topics


def score(query: str, document: str) -> float:
    return relevance(query_weights(query), document)


def test_no_shared_word_is_zero() -> None:
    assert score("bees", "a knife") == 0.0
    assert score("", "a knife") == 0.0
    assert score("???", "???") == 0.0


def test_a_rare_word_says_more_than_a_common_one() -> None:
    assert score("the nectar", "nectar") > score("the nectar", "the")


def test_words_are_compared_without_case_and_plural() -> None:
    assert score("Bee", "bees") == score("bees", "BEE") == score("bee", "bee") > 0
    assert score("colonies", "colony") > 0
    assert score("glass", "glas") == 0


def test_a_score_is_from_0_to_1_and_grows_with_what_is_shared() -> None:
    nothing, one, both, often = (
        score("honey bee", text)
        for text in ("a knife", "a honey jar", "honey of a bee", "honey bee " * 100)
    )
    assert 0 == nothing < one < both < often < 1


async def test_it_yields_each_wanted_candidate_once() -> None:
    scorer = LexicalScorer(clock=lambda: 7.9)
    candidates = [Candidate(f"bee {n}") for n in range(100)]
    candidates[3] = Candidate("bee", claim=lambda: False)
    seen = [
        item async for step in scorer.score(Ask("bee"), candidates) for item in step.found.items()
    ]
    assert sorted(position for position, _ in seen) == [n for n in range(100) if n != 3]
    assert {(each.scored_at, each.model) for _, each in seen if isinstance(each, Judgement)} == {
        (7, "lexical")
    }


@needs_trec
@pytest.mark.parametrize(("name", "least"), [("dl19", 0.50), ("dl20", 0.48)])
def test_quality(name: str, least: float) -> None:
    found = topics(name)
    total = sum(
        ndcg(topic, by_score([relevance(query_weights(topic.query), t) for t in topic.texts]))
        for topic in found
    )
    assert total / len(found) >= least
