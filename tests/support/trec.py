"""Real queries, human labels and a real model's judgements, read from beside the project."""

import gzip
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rerankd import AsyncClient

FOLDER = Path(os.environ.get("RERANKD_TREC_DIR", Path(__file__).parents[3] / "shared" / "data"))
"""Holds dl19.jsonl.gz and dl20.jsonl.gz: TREC Deep Learning passages with judgements."""

needs_trec = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the TREC data is not at {FOLDER}; set RERANKD_TREC_DIR"
)


@dataclass(frozen=True)
class Topic:
    """One query with its candidates, in first-stage order."""

    query: str
    texts: Sequence[str]
    labels: Sequence[int]
    """What people judged, 0 to 3."""
    judgements: Sequence[int]
    """What a model judged, 0 to 12."""
    ideal: Sequence[int]


def topics(name: str) -> list[Topic]:
    with gzip.open(FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [_topic(json.loads(line)) for line in lines]


def _topic(row: dict) -> Topic:  # type: ignore[type-arg]
    candidates = row["candidates"]
    return Topic(
        query=row["query"],
        texts=[candidate["text"] for candidate in candidates],
        labels=[candidate["label"] for candidate in candidates],
        judgements=[candidate["llm"] for candidate in candidates],
        ideal=row["all_labels"],
    )


def ndcg(topic: Topic, order: Sequence[int], cut: int = 10) -> float:
    """nDCG with gain = label against the topic's ideal ranking."""
    best = _dcg(sorted(topic.ideal, reverse=True)[:cut])
    return _dcg([topic.labels[i] for i in order[:cut]]) / best if best else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def by_score(scores: Sequence[float]) -> list[int]:
    """Positions, best first; ties keep the first stage's order."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def label_of(judgement: int) -> float:
    """A judgement, 0 to 12, on the scale of labels, 0 to 10."""
    return judgement * 10 / 12


def whole_label(label: float) -> int:
    """The nearest whole label, halves up."""
    return int(label + 0.5)


def likely(label: float) -> dict[str, float]:
    """The two whole labels around `label`, with probabilities that have it as their mean."""
    low, share = int(label), label - int(label)
    return {str(low): 1 - share, str(low + 1): share} if share else {str(low): 1.0}


def recorded(found: Sequence[Topic]) -> dict[tuple[str, str], int]:
    """The judgement of each distinct pair. Of equal texts the first counts: it is asked about."""
    judgements: dict[tuple[str, str], int] = {}
    for topic in found:
        for text, judgement in zip(topic.texts, topic.judgements, strict=True):
            judgements.setdefault((topic.query, text), judgement)
    return judgements


def expected_quality(found: Sequence[Topic], score: Callable[[float], float]) -> float:
    """The mean nDCG@10 of the judgements themselves, ties by first-stage order."""
    judgements = recorded(found)
    total = 0.0
    for topic in found:
        scores = [score(label_of(judgements[topic.query, text])) for text in topic.texts]
        total += ndcg(topic, by_score(scores))
    return total / len(found)


async def rank_all(address: str, found: Sequence[Topic]) -> tuple[float, int, int]:
    """Rank every topic; gives the mean nDCG@10, and how many pairs were scored and cached."""
    quality, scored, cached = 0.0, 0, 0
    async with AsyncClient(address) as client:
        for topic in found:
            ranking = await client.rerank(topic.query, topic.texts)
            quality += ndcg(topic, [result.index for result in ranking])
            scored += ranking.usage.scored_pairs
            cached += ranking.usage.cached_pairs
    return quality / len(found), scored, cached
