"""What is evaluated: queries, their candidates, and how relevant people judged them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """One document that is to be ranked for a query."""

    id: str
    text: str
    label: int | None = None
    """People's judgement, 0 or less: not relevant; None: nobody judged it."""
    prior_score: float | None = None
    """The first stage's score; finite."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query with its candidates, in first-stage order; their ids are distinct."""

    id: str
    text: str
    candidates: Sequence[Candidate]
    elsewhere: Sequence[int] = ()
    """Labels of judged documents that are no candidates: an ideal ranking would hold them too."""

    @property
    def is_judged(self) -> bool:
        """Whether any label can tell a good ranking from a bad one."""
        return bool(self.elsewhere) or any(each.label is not None for each in self.candidates)


@dataclass(frozen=True, slots=True)
class Collection:
    """Queries that can be evaluated, and in words what of the files was left out."""

    name: str
    queries: Sequence[Query]
    notes: Sequence[str] = ()


def counted(count: int, one: str, many: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {one if count == 1 else many}"


def evaluable(name: str, queries: Iterable[Query], notes: Sequence[str] = ()) -> Collection:
    """Leave out the queries that say nothing about a ranking, and note how many they are.

    No query at all may remain.
    """
    kept: list[Query] = []
    left_out: Counter[str] = Counter()
    for query in queries:
        if not query.candidates:
            left_out["without candidates"] += 1
        elif not query.is_judged:
            left_out["without judgements"] += 1
        else:
            kept.append(query)
    out = [
        f"{counted(count, 'query', 'queries')} {why}: left out"
        for why, count in sorted(left_out.items())
    ]
    return Collection(name, kept, [*out, *notes])
