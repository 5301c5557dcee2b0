"""A provider on loopback that replies with what a real model judged, and how near a real first
stage found each passage.

Models: `probabilities` tells its labels' log-probabilities, `integers` does not; both take
pointwise and batched prompts, and give a pair the same label in each. `embeddings` gives vectors
whose cosines order a topic's passages as Contriever did; those outside its first 100 are least
near.
"""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from support.provider import Call, completion, embeddings_by
from support.trec import label_of, likely, whole_label

MODELS = PROBABILITIES, INTEGERS = "probabilities", "integers"
EMBEDDINGS = "embeddings"
_BYTES_A_TOKEN = 4
_TOKENS_A_NAME = 5
"""What a document's name takes in an answer, with quotes and colon."""
_NEAREST = 0.5
"""The cosine of a topic's nearest passage: small, for a passage may be near to several queries."""


class Recorded:
    """What is recorded in `files`, as the judgements of one model."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._judgements: dict[tuple[str, str], float] = {}
        self._queries: dict[str, int] = {}
        self._nearness: dict[str, dict[int, float]] = {}
        for file in files:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    self._read(json.loads(line))
        self.embed = embeddings_by(self._vector)

    def _read(self, topic: Mapping[str, Any]) -> None:
        query, candidates = topic["query"], topic["candidates"]
        number = self._queries.setdefault(query, len(self._queries))
        scores = [c["contriever"]["score"] for c in candidates if c.get("contriever")]
        low, high = min(scores), max(scores)
        for candidate in candidates:
            text = candidate["text"]
            self._judgements.setdefault((query, text), label_of(candidate["llm"]))
            if candidate.get("contriever"):
                near = (candidate["contriever"]["score"] - low) / (high - low)
                self._nearness.setdefault(text, {})[number] = _NEAREST * near

    def _vector(self, text: str) -> Sequence[float]:
        """Give a query its own axis, and a passage its nearness along each query's."""
        vector = [0.0] * (len(self._queries) + 1)
        if text in self._queries:
            vector[self._queries[text]] = 1.0
            return vector
        for number, near in self._nearness.get(text, {}).items():
            vector[number] = near
        vector[-1] = math.sqrt(1 - sum(near * near for near in vector))
        return vector

    def answer(self, call: Call) -> web.Response:
        """Judge the prompt's passage, or each of its passages."""
        named = call.named_documents
        prompt_tokens = len(call.prompt.encode()) // _BYTES_A_TOKEN
        tells = call.body["model"] == PROBABILITIES
        if not named:
            pieces: list[str | float] = [self._judgements[call.query, call.document]]
        else:
            pieces = ["{"]
            for number, (name, text) in enumerate(named.items()):
                pieces += [
                    f'{", " if number else ""}"{name}": ',
                    self._judgements[call.query, text],
                ]
            pieces.append("}")
        tokens = [_likely(piece, tells=tells) for piece in pieces]
        words = [max(token, key=lambda text: token[text]) for token in tokens]
        return completion(
            "".join(words),
            probabilities=tokens[0] if tells else None,
            then=list(zip(words[1:], tokens[1:], strict=True)),
            usage=(prompt_tokens, sum(_TOKENS_A_NAME if isinstance(p, str) else 1 for p in pieces)),
        )


def _likely(piece: str | float, *, tells: bool) -> Mapping[str, float]:
    """Give what may stand in a place: a text, or the two labels around a judgement."""
    if isinstance(piece, str):
        return {piece: 1.0}
    return likely(piece) if tells else {str(whole_label(piece)): 1.0}
