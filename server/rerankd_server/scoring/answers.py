"""Reads a model's reply: the label it gives and, with log-probabilities, how sure it was.

A reply counts only where it is whole and holds exactly one label. That is one number in range,
alone, under the name that the prompt gives it, or as the only number of a JSON value; or the label
that its last line names (`score: N`), where nothing else in the reply claims another one. What a
model thought before it answered is no part of it. Everything else holds no score; nothing is
clamped, rounded or guessed. The score is then the expected label over the probabilities of the
label tokens (Liu et al., "G-Eval", 2023), or, where these hold under half of the probability, the
label itself; over 10.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rerankd_server.scoring import prompt
from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.scorer import LABELS, Detail, rounded
from rerankd_server.scoring.thinking import find_answer, without_thoughts

_ENOUGH = 0.5
"""The least probability that label tokens must hold together to speak for the model."""

LABEL_KEYS = ("label", "score")
MORE_LABEL_KEYS = ("rating", "relevance", "relevance_score", "relevance_label", "value")
"""Keys of JSON, and heads of columns, that count where there is none of the others."""
_NO_LABEL_KEYS = ("confidence", "certainty", "probability", "rank", "index", "id", "position")
"""Keys of numbers that are something else."""

_LABEL = r"(?P<label>[0-9]{1,2})(?:\.0+)?"
_OUT_OF_TEN = r"\s{0,2}\(?(?:/|out of)\s{0,2}10(?:\.0+)?\)?"
_BOXED = r"\${0,2}\\boxed\{(?P<boxed>[0-9]{1,2})\}\${0,2}"
_ALONE = re.compile(
    rf"\s*(?P<mark>[*_`\"']{{0,4}}){_LABEL}"
    rf"(?:\.?(?P=mark)(?:{_OUT_OF_TEN})?|{_OUT_OF_TEN}\.?(?P=mark))(?<!\.)\.?\s*"
    rf"|\s*{_BOXED}\.?\s*",
    re.IGNORECASE,
)
"""A label that nothing makes another number of: 7, 7.0, 7., **7**, 7/10."""
_AS_LABEL = re.compile(rf"\s*{_LABEL}(?:{_OUT_OF_TEN})?\s*", re.IGNORECASE)

_RANGE = r"(?:,? ?[(\[]?(?:0 ?(?:to|-|\N{EN DASH}) ?10|out of 10|/ ?10)[)\]]?)?"
"""The prompt's last words are "The label, 0 to 10:"."""
_NAME = (
    r"(?:(?:the|my|its|final|overall)\s){0,3}"
    rf"(?:(?:relevance[ _])?(?:label|score|rating)|relevance){_RANGE}[*_`\"']{{0,4}}"
)
_SCORE = re.compile(
    rf"^[\s>#*_`\"'\N{{BULLET}}-]*{_NAME}\s?(?:[:=]|is\b:?)"
    r"|(?:(?:^|[^\w\s])\s{0,2}|\b(?:the|a|my|its|final|overall|relevance)\s)score\s?[:=]",
    re.IGNORECASE,
)
"""What names a label, in one line: at its beginning, or `score:` behind a sign."""
_NAME_ALONE = re.compile(rf"[\s>#*_`-]*{_NAME}\s?:[*_`]{{0,4}}", re.IGNORECASE)
"""A line that names the label on the next one."""
_AFTER_SCORE = re.compile(
    rf"[*_`\"'\s]*(?:{_LABEL}[*_`\"']{{0,4}}(?:{_OUT_OF_TEN})?[*_`\"']{{0,4}}|{_BOXED})"
    r"(?:\s*$|[.;!)](?![0-9]))",
    re.IGNORECASE,
)
"""A label that nothing makes another number of: at the end of its line, or of a clause."""

_NUMBER = re.compile(r"[^\w\n]*([0-9]{1,2})\b")

_FENCE = re.compile(r"```\w{0,12}\s*")
_JSON_BEGINS = re.compile(r"[{\[]")
_IN_JSON = re.compile(r"[:\[,]\s*\"?\s*(?P<label>[0-9]{1,2})(?![0-9])")
_JSON_CLAIM = re.compile(
    r"\"(?:label|score|rating|relevance)\"\s?:\s?\"?([0-9]{1,2})\b", re.IGNORECASE
)
_ANCHORS = {line.lower(): int(line.partition(":")[0]) for line in prompt.ANCHORS.splitlines()}


class _Number(str):
    """A number in JSON, as it was written."""

    __slots__ = ()


def _number(digits: str) -> _Number:
    return _Number(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=without_thoughts,
    parse_int=_number,  # one too long for an int is no label either
    parse_float=_number,
)


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
    if {*_claims(span.preface), *(before or ())[:1]} - {label}:
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


def find_label(text: str) -> tuple[int, int | None] | None:
    """Return the one label in `text` and the place where its digits begin, as far as known."""
    begin, end = _unfenced(text)
    inside = text[begin:end]
    if match := _ALONE.fullmatch(inside):
        return _found(match, begin)
    written = inside.removesuffix("```").rstrip()
    if written.startswith("{") or written.endswith(("}", "]")):
        return _in_json(written, begin)
    anchor = inside.rstrip(".").lower()
    if anchor in _ANCHORS:  # the prompt's own line, repeated
        return _ANCHORS[anchor], begin
    return _in_last_line(text)


def _unfenced(text: str) -> tuple[int, int]:
    """Return where `text` begins and ends without white space, and without a fence around all."""
    begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
    fence = _FENCE.match(text, begin, end)
    if fence is None or not text.endswith("```", fence.end(), end):
        return begin, max(begin, end)
    return fence.end(), fence.end() + len(text[fence.end() : end - 3].rstrip())


def _found(match: re.Match[str], begin: int) -> tuple[int, int] | None:
    """Return the label that `match` holds, and its place; what was matched begins at `begin`."""
    group = "label" if match["boxed"] is None else "boxed"
    label = int(match[group])
    return (label, begin + match.start(group)) if label in LABELS else None


def _in_last_line(text: str) -> tuple[int, int | None] | None:
    """Find the label that the last line names, unless a line before it claims another one."""
    body = text.rstrip()
    start = body.rfind("\n") + 1
    if _ALONE.fullmatch(body, start):
        before = body[:start].rstrip()
        name = before.rfind("\n") + 1
        start = name if _NAME_ALONE.fullmatch(before, name) else start
    line = body[start:]
    mentions = list(_SCORE.finditer(line))
    if len(mentions) != 1 or not (match := _AFTER_SCORE.match(line, mentions[0].end())):
        return None
    found = _found(match, start)
    if found is None or re.search("[0-9]", line[match.end() :]):  # "7. Or rather 8."
        return None
    return found if all(claim == found[0] for claim in _claims(body[:start])) else None


def _claims(text: str) -> Iterator[int]:
    """Yield the numbers that lines begin with, named as a label, or are, and those of JSON."""
    for line in text.splitlines():
        if (named := _SCORE.match(line)) and (match := _NUMBER.match(line, named.end())):
            yield int(match[1])
        elif match := _ALONE.fullmatch(line.rstrip(" \t,;:-").removesuffix(" or")):
            yield int(match["label"] or match["boxed"])
        yield from map(int, _JSON_CLAIM.findall(line))


def _in_json(text: str, start: int) -> tuple[int, int | None] | None:
    """Find the one number in JSON: under a key that names a label, or else of all.

    Where words stand before it, there has to be such a key, and they must claim no other label.
    """
    match = _JSON_BEGINS.search(text)
    begin = match.start() if match else len(text)
    words = re.sub(r"```\w{0,12}$", "", text[:begin].rstrip()).strip()
    try:
        value = _DECODER.decode(text[begin:])
        named = [*_named(value, LABEL_KEYS)] or [*_named(value, MORE_LABEL_KEYS)]
        parts = named if named or words else [value]
        numbers = [number for part in parts for number in _numbers(part)]
    except (ValueError, RecursionError):
        return None
    if len(numbers) != 1 or (label := as_label(numbers[0])) is None:
        return None
    if any(claim != label for claim in _claims(words)):
        return None
    places = [m.start("label") for m in _IN_JSON.finditer(text, begin) if int(m["label"]) == label]
    return label, start + places[0] if len(places) == 1 else None


def _named(value: object, keys: Sequence[str]) -> Iterator[object]:
    """Yield what stands under `keys` in decoded JSON, where objects are tuples of pairs."""
    match value:
        case tuple():
            for key, inner in value:
                if key.lower() in keys:
                    yield inner
                else:
                    yield from _named(inner, keys)
        case list():
            for inner in value:
                yield from _named(inner, keys)


def _numbers(value: object) -> Iterator[str]:
    """Yield the numbers in decoded JSON, and the texts that are a label."""
    match value:
        case _Number():
            yield value
        case str() if as_label(value) is not None:
            yield value
        case tuple():
            for key, inner in value:
                if key.lower() not in _NO_LABEL_KEYS:
                    yield from _numbers(inner)
        case list():
            for inner in value:
                yield from _numbers(inner)


def as_label(text: str) -> int | None:
    """Return the label that `text` is, as "7", "7.0" or "7/10"."""
    match = _AS_LABEL.fullmatch(text)
    return int(match["label"]) if match and int(match["label"]) in LABELS else None


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
