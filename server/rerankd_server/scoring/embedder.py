"""The embedder: fetches texts' vectors from an embeddings model, many a call.

A scorer by its shape, so that a cache can stand around it: asked with an empty query, it gives each
text a vector.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence

from rerankd_server.errors import RequestRejectedError
from rerankd_server.scoring.embedding import Embeddings
from rerankd_server.scoring.groups import Group, Verdict
from rerankd_server.scoring.inquiry import Inquiry
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Detail,
    Identity,
    Leaf,
    Progress,
    Reason,
    Unscored,
    Vector,
)


class Embedder(Leaf[Vector]):
    """Asks the embeddings `model`, about at most `documents` texts a call."""

    def __init__(
        self, model: RemoteModel, documents: int = 64, clock: Callable[[], float] = time.time
    ) -> None:
        self._model = model
        self._documents = documents
        self._clock = clock
        self._identity = model.identity("embedding")
        self._breaker = model.breaker("embeddings")
        self._limit = model.provider.learnt(model.name).texts

    @property
    def identity(self) -> Identity:
        """Provider and model."""
        return self._identity

    def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress[Vector]]:
        """Fetch the vector of each candidate's text; see `Scorer.score`."""
        inquiry: Inquiry[Embeddings, Vector] = Inquiry(
            self._model.embed, self._write, self._read, breaker=self._breaker, limit=self._limit
        )
        places = range(len(candidates))
        groups = [Group(places[at : at + self._documents]) for at in places[:: self._documents]]
        return inquiry.run(ask, candidates, groups, self._model.workers)

    def _write(self, asked: Sequence[Candidate]) -> dict[str, object]:
        texts = [candidate.text for candidate in asked]
        return {"input": texts, "encoding_format": "float", **self._model.extra}

    def _read(self, reply: Embeddings, group: Group) -> Verdict[Vector]:
        asked, told = len(group.positions), {**reply.vectors, **reply.missing}
        is_whole = reply.is_numbered or len(told) == asked
        if not is_whole or not told or max(told) >= asked:
            error = RequestRejectedError(
                f"the model's provider sends {len(told)} embeddings for {asked} texts; check what "
                "`base_url` and `model` on the server are"
            )
            return Verdict({}, dict.fromkeys(group.positions, Unscored(Reason.FAILED, error)))
        now = int(self._clock())
        tokens = round(reply.prompt_tokens / asked)
        return Verdict(
            {
                group.positions[place]: Vector(data, reply.model, tokens, 0, now)
                for place, data in reply.vectors.items()
            },
            {
                position: Unscored(
                    Reason.REFUSED, detail=reply.missing.get(place, Detail.EMPTY_REPLY)
                )
                for place, position in enumerate(group.positions)
                if place not in reply.vectors
            },
        )
