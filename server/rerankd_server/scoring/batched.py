"""The batched scorer: several documents a prompt, for a third of the tokens.

Its scores depend on the documents that shared a prompt, and on their order. So the order is drawn
by lot, and each scorer, with its size, seed and number, has an identity of its own: its scores are
observations made under that identity, never mixed with the pointwise scorer's.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from rerankd_server.scoring import batch_prompt
from rerankd_server.scoring.answers import Reply, what_keeps_from_reading
from rerankd_server.scoring.batch_answers import read_answers
from rerankd_server.scoring.groups import Group, Verdict
from rerankd_server.scoring.inquiry import Inquiry
from rerankd_server.scoring.llm import refused, to_score
from rerankd_server.scoring.parameters import Parameters
from rerankd_server.scoring.provider import BYTES_A_TOKEN
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import Ask, Candidate, Detail, Identity, Leaf, Progress, Score

_TRIES = 3
"""How often a document is asked about, where a reply says nothing certain of it."""
_TOKENS_A_LABEL = 12
_TOKENS_ASIDE = 32
"""What an answer takes at most, where it is laid out on lines and fenced."""


class BatchedScorer(Leaf):
    """Asks `model` about up to `documents` at a time, of up to about `tokens` together.

    What a reply leaves out, repeats or gets wrong is asked about again, alone. `number` tells the
    passes of one recipe apart: each has an order of its own, drawn from `seed`. An answer has at
    most `max_tokens` tokens; None allows for what the labels take.
    """

    def __init__(
        self,
        model: RemoteModel,
        documents: int = 10,
        tokens: int | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        number: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        wish = Parameters(
            max_tokens=max_tokens or _TOKENS_A_LABEL * documents + _TOKENS_ASIDE, form=True
        )
        self._model = model
        self._documents = documents
        self._tokens = tokens
        self._lot = f"{seed} {number}"
        self._clock = clock
        self._wish = wish
        self._breaker = model.breaker(f"labels in batches of {documents}, pass {number},")
        self._identity = {
            **model.judge_identity("batched", wish, batch_prompt.IDENTITY),
            "documents": str(documents),
            "tokens": str(tokens),
            "seed": str(seed),
            "pass": str(number),
        }

    @property
    def identity(self) -> Identity:
        """Provider, model, prompt, labels, parameters, and how documents come together."""
        return self._identity

    def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score `candidates` together; see `Scorer.score`. Scores depend on each other."""
        user_message = partial(batch_prompt.user_message, ask.query, ask.instruction)
        inquiry: Inquiry[Reply, Score] = Inquiry(
            send=partial(self._model.complete, wish=self._wish),
            write=partial(self._write, user_message),
            read=self._read,
            overhead=len(batch_prompt.SYSTEM.encode()) + len(user_message([""]).encode()),
            breaker=self._breaker,
        )
        return inquiry.run(
            ask, candidates, list(self._groups(ask, candidates)), self._model.workers
        )

    def _groups(self, ask: Ask, candidates: Sequence[Candidate]) -> Iterator[Group]:
        """Draw the order, and fill prompts with as many as they hold."""
        order = list(range(len(candidates)))
        Random(f"{self._lot} {ask.query}").shuffle(order)  # noqa: S311  # no secret
        group: list[int] = []
        tokens = 0.0
        for position in order:
            size = len(candidates[position].text.encode()) / BYTES_A_TOKEN
            too_long = self._tokens is not None and tokens + size > self._tokens
            if group and (too_long or len(group) == self._documents):
                yield Group(tuple(group))
                group, tokens = [], 0.0
            group.append(position)
            tokens += size
        if group:
            yield Group(tuple(group))

    def _write(
        self, user_message: Callable[[Sequence[str]], str], asked: Sequence[Candidate]
    ) -> Mapping[str, Any]:
        user = user_message([candidate.text for candidate in asked])
        form = batch_prompt.schema(len(asked))
        return {"response_format": form, **self._model.body(batch_prompt.SYSTEM, user)}

    def _read(self, reply: Reply, group: Group) -> Verdict[Score]:
        codes = batch_prompt.codes(len(group.positions))
        answers = read_answers(reply, codes)
        now, count = self._clock(), len(codes)
        found = {
            position: to_score(answers[code], reply, now, count)
            for code, position in zip(codes, group.positions, strict=True)
            if code in answers
        }
        rest = Group([p for p in group.positions if p not in found], group.tries)
        if not rest.positions:
            return Verdict(found)
        wrong = refused(what_keeps_from_reading(reply) or Detail.UNREADABLE, reply)
        # A reply of which nothing can be used may have been too long, or one document's fault: the
        # others are not refused for it, so it is halved until that document stands alone.
        if group.tries + 1 >= _TRIES and (found or len(codes) == 1):
            return Verdict(found, dict.fromkeys(rest.positions, wrong))
        again = [rest.again()] if found else rest.again().halves()
        return Verdict(found, again=again, wrong=wrong)
