"""One request's calls about groups: what is claimed is asked about, and what comes is told."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from rerankd_server.errors import (
    DefectError,
    KeyRejectedError,
    ProviderError,
    ProviderUnavailableError,
    RequestRejectedError,
)
from rerankd_server.scoring.groups import Group, Verdict
from rerankd_server.scoring.inquiry import Inquiry
from rerankd_server.scoring.scorer import Ask, Candidate, Progress, Score, Usage
from rerankd_server.scoring.sending import Errand

REFUSED = RequestRejectedError("refused")
ASK = Ask("q")


@dataclass(frozen=True)
class Reply:
    """Says that it took 7 and 1 tokens."""

    prompt_tokens: int = 7
    completion_tokens: int = 1


@dataclass
class Asked:
    """Claims each errand as a provider does, notes what it is about, and ends it with `answer`."""

    answer: Callable[[Sequence[str]], Reply | None] = field(default=lambda _: Reply())
    texts: list[list[str]] = field(default_factory=list)

    async def send(self, errand: Errand) -> Reply | None:
        if not errand.wanted() or not errand.claim():
            return None
        errand.calls += 1
        errand.sent.count += 1
        texts: list[str] = list(errand.write()["texts"])
        self.texts.append(texts)
        reply = self.answer(texts)
        if reply is not None:
            errand.prompt_tokens += reply.prompt_tokens
            errand.completion_tokens += reply.completion_tokens
        return reply

    def inquiry(
        self, read: Callable[[Reply, Group], Verdict[Score]] | None = None
    ) -> Inquiry[Reply, Score]:
        def all_found(_: Reply, group: Group) -> Verdict[Score]:
            return Verdict({position: Score(0.5) for position in group.positions})

        send: Callable[[Errand], Awaitable[Reply | None]] = self.send
        return Inquiry(send, write, read or all_found)


def write(asked: Sequence[Candidate]) -> Mapping[str, Any]:
    return {"texts": [candidate.text for candidate in asked]}


def candidates(texts: str, *, not_claimed: str = "", not_wanted: str = "") -> list[Candidate]:
    return [
        Candidate(
            text,
            wanted=lambda text=text: text not in not_wanted,  # type: ignore[misc]
            claim=lambda text=text: text not in not_claimed,  # type: ignore[misc]
        )
        for text in texts
    ]


async def run(
    inquiry: Inquiry[Reply, Score], asked: Sequence[Candidate], *groups: Sequence[int]
) -> Progress:
    """All that is said, together; no position twice."""
    found: dict[int, Score] = {}
    unscored: dict[int, Any] = {}
    usage = Usage()
    async for step in inquiry.run(ASK, asked, [Group(group) for group in groups], workers=1):
        assert not found.keys() & step.found.keys()
        assert not unscored.keys() & step.unscored.keys()
        found.update(step.found)
        unscored.update(step.unscored)
        usage += step.usage
    return Progress(found, unscored, usage=usage)


def raising(error: ProviderError, where: str = "") -> Callable[[Sequence[str]], Reply]:
    def answer(texts: Sequence[str]) -> Reply:
        if not where or where in texts:
            raise error
        return Reply()

    return answer


async def test_a_call_is_about_what_could_be_claimed() -> None:
    asked = Asked()
    said = await run(asked.inquiry(), candidates("abcde", not_claimed="bd"), (0, 1, 2), (3, 4))
    assert asked.texts == [["a", "c"], ["e"]]
    assert said.found.keys() == {0, 2, 4}
    assert not said.unscored
    assert said.usage == Usage(scored_pairs=3, model_calls=2, prompt_tokens=14, completion_tokens=2)


async def test_a_group_that_nobody_wants_is_not_sent() -> None:
    asked = Asked()
    said = await run(asked.inquiry(), candidates("abc", not_wanted="abc"), (0, 1), (2,))
    assert asked.texts == []
    assert (said.found, said.unscored, said.usage) == ({}, {}, Usage())


async def test_one_that_is_wanted_keeps_its_group_going() -> None:
    asked = Asked()
    said = await run(asked.inquiry(), candidates("abc", not_wanted="ac"), (0, 1, 2))
    assert asked.texts == [["b"]]
    assert said.found.keys() == {1}


async def test_a_failure_is_of_what_was_sent() -> None:
    """What was not claimed is another's to tell of."""
    asked = Asked(raising(ProviderUnavailableError("down", 1)))
    said = await run(asked.inquiry(), candidates("abc", not_claimed="a"), (0, 1, 2))
    assert said.unscored.keys() == {1, 2}
    assert said.usage == Usage(unscored_pairs=2, model_calls=1)


async def test_what_is_refused_is_halved_without_what_was_not_claimed() -> None:
    asked = Asked(raising(REFUSED, where="d"))
    said = await run(asked.inquiry(), candidates("abcd", not_claimed="a"), (0, 1, 2, 3))
    assert asked.texts == [["b", "c", "d"], ["b", "c"], ["d"]]
    assert said.found.keys() == {1, 2}
    assert said.unscored.keys() == {3}
    assert said.usage.model_calls == 3


async def test_once_every_call_would_fail_no_other_is_sent() -> None:
    asked = Asked(raising(KeyRejectedError("no")))
    said = await run(asked.inquiry(), candidates("abcd"), (0, 1), (2,), (3,))
    assert asked.texts == [["a", "b"]]
    assert said.unscored.keys() == {0, 1, 2, 3}
    assert {type(each.error) for each in said.unscored.values()} == {KeyRejectedError}


@pytest.mark.parametrize("size", [8, 300])
async def test_where_none_is_answered_refusals_come_to_an_end(size: int) -> None:
    asked = Asked(raising(REFUSED))
    groups = [range(start, start + size) for start in range(0, 10 * size, size)]
    said = await run(asked.inquiry(), candidates("x" * 10 * size), *groups)
    assert len(said.unscored) == 10 * size
    assert len(asked.texts) <= 60


async def test_a_defect_keeps_the_count_of_what_was_sent() -> None:
    def broken(*_: object) -> Verdict[Score]:
        raise RuntimeError("a private text")

    said = await run(Asked().inquiry(broken), candidates("abc", not_claimed="a"), (0, 1, 2))
    assert said.unscored.keys() == {1, 2}
    assert {type(each.error) for each in said.unscored.values()} == {DefectError}
    assert said.usage == Usage(
        unscored_pairs=2, model_calls=1, prompt_tokens=7, completion_tokens=1
    )


async def test_what_has_to_be_asked_again_is() -> None:
    def one_at_a_time(_: Reply, group: Group) -> Verdict[Score]:
        first, *rest = group.positions
        again = [Group(rest, group.tries).again()] if rest else []
        return Verdict({first: Score(group.tries / 10)}, again=again)

    asked = Asked()
    said = await run(asked.inquiry(one_at_a_time), candidates("abc"), (0, 1, 2))
    assert asked.texts == [["a", "b", "c"], ["b", "c"], ["c"]]
    assert [said.found[n].value for n in range(3)] == [0.0, 0.1, 0.2]
    assert said.usage.model_calls == 3
