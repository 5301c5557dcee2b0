"""The lexical scorer: BM25 whose word weights come from general English, not from a collection.

A score therefore depends on the query and the document alone, and can be cached like a model's. It
needs no model and no key: a baseline, a cheap first stage, and what runs where nothing is set up.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), with k1 = 0.9 and
b = 0.4 (Anserini's settings for passages). A word's document frequency is estimated from its
frequency in English (`wordfreq`): it stands in a passage of L words with probability
1 - (1 - f)^L. Plurals are folded by Harman's S-stemmer ("How effective is suffixing?", 1991).
"""

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version

from rerankd_server.errors import ConfigError
from rerankd_server.off_loop import OffLoop
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Identity,
    Judgement,
    Leaf,
    Progress,
    Score,
    Usage,
    rounded,
)

_K1 = 0.9
_B = 0.4
_PASSAGE_WORDS = 60
"""An ordinary passage's length L (MS MARCO's mean is 56)."""
_RAREST = 1e-8
"""The frequency of a word that English does not know: that of the rarest words it does."""
_TURN = 100
"""Documents that are scored before others get their turn."""
_SHORT = 10_000
"""Characters that are scored while all other calls wait: about a millisecond."""
_WORD = re.compile(r"[^\W_]+")


class LexicalScorer(Leaf):
    """Scores by shared words: 0 with none, towards 1 with every word of the query, often.

    Raises ConfigError where the `offline` extra is not installed.
    """

    def __init__(
        self, off_loop: OffLoop | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            self._identity = {
                "kind": "lexical",
                "version": "1",
                "words": f"wordfreq {version('wordfreq')}",
            }
        except PackageNotFoundError:
            raise ConfigError(
                "the lexical scorer needs word frequencies: pip install 'rerankd[server,offline]'"
            ) from None
        self._off_loop = off_loop or OffLoop()
        self._clock = clock

    @property
    def identity(self) -> Identity:
        """The formula's version and the word list's."""
        return self._identity

    async def score(self, ask: Ask, candidates: Sequence[Candidate]) -> AsyncGenerator[Progress]:
        """Score `candidates` against the query; the instruction is ignored. See `Scorer.score`."""
        await asyncio.to_thread(load_frequencies)
        weights = query_weights(ask.query)
        for start in range(0, len(candidates), _TURN):
            some = candidates[start : start + _TURN]
            claimed = {start + n: each.text for n, each in enumerate(some) if each.claim()}
            work = partial(_judgements, weights, claimed, int(self._clock()))
            is_short = sum(map(len, claimed.values())) <= _SHORT
            scores = work() if is_short else await self._off_loop.run(work)
            yield Progress(scores, usage=Usage(scored_pairs=len(scores)))


def _judgements(
    weights: Mapping[str, float], texts: Mapping[int, str], now: int
) -> dict[int, Score]:
    return {
        position: Judgement(relevance(weights, text), model="lexical", scored_at=now)
        for position, text in texts.items()
    }


@lru_cache(maxsize=1)
def load_frequencies() -> Mapping[str, float]:
    """Load how often each English word is used; 0.3 s at first, so call it off the event loop."""
    import wordfreq  # noqa: PLC0415  # optional, and slow to import

    frequencies: Mapping[str, float] = wordfreq.get_frequency_dict("en")
    return frequencies


def query_weights(query: str) -> Mapping[str, float]:
    """Give each (folded) word of `query` its weight: -ln of how likely a passage has it."""
    frequencies = load_frequencies()
    weights: dict[str, float] = {}
    for word in _WORD.findall(query.lower()):
        frequency = max(frequencies.get(word, 0.0), _RAREST)
        present = -math.expm1(_PASSAGE_WORDS * math.log1p(-frequency))
        folded = _singular(word)
        weights[folded] = max(-math.log(present), weights.get(folded, 0.0))
    return weights


def relevance(weights: Mapping[str, float], document: str) -> float:
    """BM25 of `document` over the most that any document could reach: from 0 to 1."""
    best = sum(weights.values()) * (_K1 + 1)
    if not best:
        return 0.0
    words = _WORD.findall(document.lower())
    counts = Counter(map(_singular, words))
    norm = _K1 * (1 - _B + _B * len(words) / _PASSAGE_WORDS)
    total = 0.0
    for word, weight in weights.items():
        if count := counts[word]:
            total += weight * count * (_K1 + 1) / (count + norm)
    return rounded(total / best)


@lru_cache(maxsize=1 << 16)
def _singular(word: str) -> str:
    """Fold an English plural, by Harman's three rules; the first that fits decides."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word
