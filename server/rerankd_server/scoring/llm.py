"""The LLM scorer: one prompt a document, all in flight together."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from rerankd_server.errors import DefectError, ProviderError
from rerankd_server.logs import log_defect
from rerankd_server.scoring import prompt
from rerankd_server.scoring.answers import read_answer
from rerankd_server.scoring.dispatcher import Line
from rerankd_server.scoring.parameters import Learnt, Parameters
from rerankd_server.scoring.provider import Errand, Provider
from rerankd_server.scoring.scorer import (
    LABELS,
    Ask,
    Candidate,
    Identity,
    Progress,
    Reason,
    Score,
    Unscored,
    Usage,
)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What came of one candidate."""

    position: int
    outcome: Score | Unscored
    usage: Usage


class LLMScorer:
    """Asks `model` at `provider` about each document alone.

    `provider_name` stands for the provider in the cache key, so that a provider that keeps its name
    keeps its scores when its address changes. At most `workers` candidates of one call are under
    way together; the provider bounds all calls.
    """

    def __init__(
        self,
        provider: Provider,
        provider_name: str,
        model: str,
        workers: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        wish = Parameters()
        self._provider = provider
        self._model = model
        self._workers = workers
        self._clock = clock
        self._learnt = Learnt(wish)
        # The parameters are those we ask for. What the model refuses of them follows from the
        # provider and the model, which are here too; so a restart, which forgets, finds its scores.
        self._identity = {
            "kind": "llm",
            "provider": provider_name,
            "model": model,
            "prompt": prompt.IDENTITY,
            "labels": f"{LABELS[0]}-{LABELS[-1]}",
            "temperature": str(wish.temperature),
            "max_tokens": str(wish.max_tokens),
            "top_logprobs": str(wish.top_logprobs),
        }

    @property
    def identity(self) -> Identity:
        """Provider, model, prompt, labels and every parameter asked for."""
        return self._identity

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score each candidate by a call of its own; see `Scorer.score`.

        Once the provider does not know the model, what is not sent yet is not sent.
        """
        done: asyncio.Queue[_Judged | None] = asyncio.Queue()
        queue = iter(enumerate(candidates))
        hope = _Hope()
        line = Line()

        async def work() -> None:
            for position, candidate in queue:
                if not candidate.wanted():
                    done.put_nowait(None)
                    continue
                try:
                    judged = await self._judge(ask, position, candidate, line, hope)
                except Exception as error:  # noqa: BLE001  # one document's defect is its own
                    log_defect(error)
                    judged = _failed(position, DefectError(), calls=0)
                done.put_nowait(judged)

        workers = [asyncio.create_task(work()) for _ in range(min(self._workers, len(candidates)))]
        try:
            left = len(candidates)
            while left:
                judged = [await done.get()]
                while not done.empty():
                    judged.append(done.get_nowait())
                left -= len(judged)
                yield _progress(judged)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _judge(
        self, ask: Ask, position: int, candidate: Candidate, line: Line, hope: "_Hope"
    ) -> _Judged | None:
        errand = Errand(
            system=prompt.SYSTEM,
            user=prompt.user_message(ask.query, ask.instruction, candidate.text),
            wanted=lambda: hope.lost is None and candidate.wanted(),
            claim=lambda: hope.lost is None and candidate.claim(),
            line=line,
        )
        try:
            reply = await self._provider.complete(self._model, errand, self._learnt)
        except ProviderError as error:
            if error.stops_everything:
                hope.lost = hope.lost or error
            return _failed(position, error, errand.calls)
        if reply is None:
            return None if hope.lost is None else _failed(position, hope.lost, errand.calls)
        answer = read_answer(reply)
        usage = Usage(
            scored_pairs=int(answer is not None),
            unscored_pairs=int(answer is None),
            model_calls=errand.calls,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )
        if answer is None:
            return _Judged(position, Unscored(Reason.REFUSED), usage)
        score = Score(
            value=answer.value,
            labels=answer.labels,
            model=reply.model,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            scored_at=int(self._clock()),
        )
        return _Judged(position, score, usage)


def _failed(position: int, error: ProviderError, calls: int) -> _Judged:
    usage = Usage(unscored_pairs=1, model_calls=calls)
    return _Judged(position, Unscored(Reason.FAILED, error), usage)


def _progress(judged: Sequence[_Judged | None]) -> Progress:
    """Gather what became known together; None stands for a candidate that was dropped."""
    scores: dict[int, Score] = {}
    unscored: dict[int, Unscored] = {}
    usage = Usage()
    for one in judged:
        if one is None:
            continue
        if isinstance(one.outcome, Score):
            scores[one.position] = one.outcome
        else:
            unscored[one.position] = one.outcome
        usage += one.usage
    return Progress(scores, unscored, usage=usage)


@dataclass(slots=True)
class _Hope:
    """Whether one request's further documents are worth sending."""

    lost: ProviderError | None = None
    """What took the hope away."""
