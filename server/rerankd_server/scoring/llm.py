"""The pointwise scorer: one prompt a document, all in flight together."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from rerankd_server.scoring import prompt
from rerankd_server.scoring.answers import Answer, Reply, read_answer
from rerankd_server.scoring.groups import Group, Verdict
from rerankd_server.scoring.inquiry import Inquiry
from rerankd_server.scoring.parameters import Parameters
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Detail,
    Identity,
    Judgement,
    Leaf,
    Progress,
    Reason,
    Score,
    Unscored,
)


class LLMScorer(Leaf):
    """Asks `model` about each document alone, for at most `max_tokens` tokens."""

    def __init__(
        self,
        model: RemoteModel,
        max_tokens: int | None = Parameters().max_tokens,
        clock: Callable[[], float] = time.time,
    ) -> None:
        wish = Parameters(max_tokens=max_tokens)
        self._model = model
        self._clock = clock
        self._wish = wish
        self._breaker = model.breaker("labels")
        self._identity = model.judge_identity("llm", wish, prompt.IDENTITY)

    @property
    def identity(self) -> Identity:
        """Provider, model, prompt, labels and every parameter asked for."""
        return self._identity

    def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score each candidate by a call of its own; see `Scorer.score`."""
        user_message = partial(prompt.user_message, ask.query, ask.instruction)
        inquiry: Inquiry[Reply, Score] = Inquiry(
            send=partial(self._model.complete, wish=self._wish),
            write=lambda asked: self._model.body(prompt.SYSTEM, user_message(asked[0].text)),
            read=self._read,
            overhead=len(prompt.SYSTEM.encode()) + len(user_message("").encode()),
            breaker=self._breaker,
        )
        groups = [Group((position,)) for position in range(len(candidates))]
        return inquiry.run(ask, candidates, groups, self._model.workers)

    def _read(self, reply: Reply, group: Group) -> Verdict[Score]:
        answer = read_answer(reply)
        position = group.positions[0]
        if isinstance(answer, Detail):
            return Verdict({}, {position: refused(answer, reply)})
        return Verdict({position: to_score(answer, reply, self._clock())})


def refused(detail: Detail, reply: Reply) -> Unscored:
    """Return what becomes of a document whose `reply` holds no score, for the reason `detail`."""
    return Unscored(Reason.REFUSED, detail=detail, max_tokens=reply.limit)


def to_score(answer: Answer, reply: Reply, now: float, documents: int = 1) -> Judgement:
    """Give the score of one of the `documents` that `reply` is about, with its share of tokens."""
    return Judgement(
        value=answer.value,
        labels=answer.labels,
        model=reply.model,
        prompt_tokens=round(reply.prompt_tokens / documents),
        completion_tokens=round(reply.completion_tokens / documents),
        scored_at=int(now),
    )
