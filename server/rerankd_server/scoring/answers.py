"""Reads a model's reply: the label it gives and, with log-probabilities, how sure it was.

A reply counts only where it is whole and holds exactly one label. That is one number in range,
alone, under the name that the prompt gives it, or as the only number of a JSON value; or the label
that its last line names (`score: N`), where nothing else in the reply claims another one. What a
model thought before it answered is no part of it. Everything else holds no score; nothing is
clamped, rounded or guessed. The score is then the expected label over the probabilities of the
label tokens (Liu et al., "G-Eval", 2023), or, where these hold under half of the probability, the
label itself; over 10.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.labels import claims, find_label
from rerankd_server.scoring.scorer import LABELS, Detail, rounded
from rerankd_server.scoring.thinking import find_answer

_ENOUGH = 0.5
"""The least probability that label tokens must hold together to speak for the model."""


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
    finish: Finish = Finish.WHOLE
    """Why the model stopped."""
    refused: bool = False
    """Whether the provider says that the model declined."""
    tokens: Sequence[Token] = ()
    """The tokens that make up `text`; empty where the provider tells no probabilities."""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    limit: int | None = None
    """The limit of tokens at which it was cut off."""
    thinks: bool = False
    """Whether the model thought before it answered, as far as the reply tells."""

    @property
    def needs_room(self) -> bool:
        """Whether the model was cut off while it thought."""
        return self.finish is Finish.CUT_OFF and (self.thinks or not self.text.strip())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply says."""

    value: float
    """The score, 0 to 1."""
    labels: Sequence[float] = ()
    """The probability of each of LABELS; empty where the reply told none."""


def read_answer(reply: Reply) -> Answer | Detail:
    """Return what `reply` says, or why that is no score."""
    if detail := what_keeps_from_reading(reply):
        return detail
    span = find_answer(reply.text)
    found = None if span is None else find_label(reply.text[span.begin : span.end])
    if span is None or found is None:
        return Detail.UNREADABLE
    label, start = found
    before = find_label(span.preface)
    if {*claims(span.preface), *(before or ())[:1]} - {label}:
        return Detail.UNREADABLE
    return weigh(reply, label, None if start is None else span.begin + start)


def what_keeps_from_reading(reply: Reply) -> Detail | None:
    """Return why there is nothing to be read in `reply`, or None where there may be."""
    if reply.refused or reply.finish is Finish.DECLINED:
        return Detail.DECLINED
    if reply.finish is Finish.CUT_OFF:
        return Detail.CUT_OFF
    if not reply.text.strip():
        return Detail.EMPTY_REPLY
    is_other = reply.finish in (Finish.TOOL_CALL, Finish.FAILED)
    return Detail.UNREADABLE if is_other else None


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


def _label_probabilities(
    text: str, tokens: Sequence[Token], label: int, start: int
) -> Sequence[float]:
    """Return each label's probability at the token that holds the reply's character `start`.

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
