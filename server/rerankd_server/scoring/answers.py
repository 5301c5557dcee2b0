"""Reads a model's reply: the label it gives and, with log-probabilities, how sure it was.

A reply counts only where it is whole and holds exactly one label: it is one number in range, alone
or as all that a JSON object holds, or has one `score: N`. What a model thought before it answered
is no part of it. Everything else holds no score; nothing is clamped, rounded or guessed. The score
is then the expected label over the probabilities of the label tokens (Liu et al., "G-Eval", 2023),
or, where these hold under half of the probability, the label itself; over 10.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rerankd_server.scoring.scorer import LABELS, rounded

_WHOLE = ("stop", "eos_token")
"""How finish reasons say that a reply is complete; `eos_token` is text-generation-inference's."""

_ENOUGH = 0.5
"""The least probability that label tokens must hold together to speak for the model."""

_NUMBER = re.compile(r"\s*(?P<mark>[*_`]*)(?P<label>[0-9]{1,2})(?P=mark)\s*", re.ASCII)
_OBJECT = re.compile(
    r"\s*(?:```(?:json)?\s*)?"
    r"\{\s*\"(?:score|label)\"\s*:\s*(?P<quote>\"?)(?P<label>[0-9]{1,2})(?P=quote)\s*\}"
    r"\s*(?:```\s*)?",
    re.ASCII | re.IGNORECASE,
)
_SCORE = re.compile(r"\bscore\s*[:=]\s*", re.ASCII | re.IGNORECASE)
_AFTER_SCORE = re.compile(
    r"[*_` \t]*(?P<label>[0-9]{1,2})[*_`]*(?:\s*/\s*10[*_`]*)?(?:\s*$|[.;!)](?![0-9]))",
    re.ASCII | re.MULTILINE,
)
"""A label that nothing makes another number of: at the end of its line, or of a clause."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply."""

    text: str
    alternatives: Mapping[str, float]
    """Probabilities of the likeliest tokens at this place, the chosen one's among them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answered to one prompt."""

    text: str
    finish: str
    """Why the model stopped: `stop` where it had said all."""
    refused: bool = False
    """Whether the provider says that the model declined."""
    tokens: Sequence[Token] = ()
    """The tokens that make up `text`; empty where the provider tells no probabilities."""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply says."""

    value: float
    """The score, 0 to 1."""
    labels: Sequence[float] = ()
    """The probability of each of LABELS; empty where the reply told none."""


def read_answer(reply: Reply) -> Answer | None:
    """Give what `reply` says, or None where it holds no score."""
    begin = find_answer(reply)
    if begin is None:
        return None
    found = _find_label(reply.text[begin:])
    if found is None:
        return None
    label, start = found
    return weigh(reply, label, begin + start)


def find_answer(reply: Reply) -> int | None:
    """Give the place in `reply` where its answer begins, or None where the reply is not whole.

    Servers that do not know a model's way of thinking leave its thoughts in the text; some models
    have the opening tag in their prompt already, and write only the closing one.
    """
    if reply.refused or reply.finish not in _WHOLE:
        return None
    answer = reply.text.rpartition("</think>")[2]
    return None if "<think>" in answer else len(reply.text) - len(answer)


def weigh(reply: Reply, label: int, start: int | None) -> Answer:
    """Score `label`, whose digits begin at `start` in `reply`'s text, where that is known."""
    probabilities: Sequence[float] = ()
    if start is not None:
        probabilities = _label_probabilities(reply.text, reply.tokens, label, start)
    total = sum(probabilities)
    if total < _ENOUGH:
        return Answer(rounded(label / LABELS[-1]), probabilities)
    expected = sum(n * p for n, p in zip(LABELS, probabilities, strict=True)) / total
    return Answer(rounded(min(expected / LABELS[-1], 1.0)), probabilities)


def _find_label(text: str) -> tuple[int, int] | None:
    """Give the one label in `text` and the place where its digits begin."""
    match = _NUMBER.fullmatch(text) or _OBJECT.fullmatch(text)
    if match is None:
        mentions = list(_SCORE.finditer(text))
        if len(mentions) == 1:
            match = _AFTER_SCORE.match(text, mentions[0].end())
    if match is None or int(match["label"]) not in LABELS:
        return None
    return int(match["label"]), match.start("label")


def _label_probabilities(
    text: str, tokens: Sequence[Token], label: int, start: int
) -> Sequence[float]:
    """Give each label's probability at the token that holds the reply's character `start`.

    Empty where the tokens are not those of `text`, white space around it aside, or where the one
    at that place is not the label: some servers tell the probabilities of something else.
    """
    whole = "".join(token.text for token in tokens)
    if not whole.lstrip().startswith(text.strip()):
        return ()
    start += (len(text.lstrip()) - len(text)) - (len(whole.lstrip()) - len(whole))
    ends = accumulate(len(token.text) for token in tokens)
    index = next((i for i, end in enumerate(ends) if end > start), None)
    if index is None or tokens[index].text.strip() not in (str(label), str(label)[0]):
        return ()
    here: dict[str, float] = {}
    for other, probability in tokens[index].alternatives.items():
        here[other.strip()] = here.get(other.strip(), 0.0) + probability
    labels = [here.get(str(n), 0.0) for n in LABELS]
    if "10" not in here and labels[1]:
        _split_one(labels, tokens[index:])
    return labels if any(labels) else ()


def _split_one(labels: list[float], tokens: Sequence[Token]) -> None:
    """Share a "1" out between 1 and 10, for models that write numbers digit by digit.

    Where the model wrote the "1", the next token tells. Where it wrote another digit, nothing was
    seen of what would have followed: the "1" then goes to whichever of 1 and 10 lies nearer to the
    other labels' mean.
    """
    one = labels[1]
    if tokens[0].text.strip() == "1":
        following = tokens[1].alternatives if len(tokens) > 1 else {}
        ten = following.get("0", 0.0)
    else:
        others = sum(labels) - one
        mean = sum(n * p for n, p in zip(LABELS, labels, strict=True)) - one
        ten = 1.0 if others and mean / others > (1 + 10) / 2 else 0.0
    labels[1], labels[10] = one * (1 - ten), one * ten
