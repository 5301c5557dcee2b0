"""Finds the answer in a reply: what is left once thoughts and marks are taken off.

Models that reason first write their thoughts between marks. Servers that do not know a model's
marks leave them in the text, so a number in a thought could pass for the answer. Marks are read in
order: a known opening mark begins a thought, its closing mark ends it, and the mark of a final
channel begins the answer. A mark that nobody knows is a boundary: what stands before it is no
place for an answer, and what an unknown opening mark begins is none until something closes it.
What follows a finished answer is no place for another one.
"""

import json
import re
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

_MARK = re.compile(
    r"<[|\uff5c](?P<special>/?[^<>|\uff5c\n]{1,48})[|\uff5c]?>"  # <|end|>, DeepSeek's, Gemma's <|x>
    r"|<(?P<half>/?[\w.:-]{1,48})[|\uff5c]>"  # Gemma's <channel|>
    r"|(?:<|&lt;)(?P<tag>/?[A-Za-z][\w.:-]{0,48})(?:\s[^<>\n]{0,200}?)?/?(?:>|&gt;)"  # <mm:think>
    r"|\u25c1(?P<diamond>/?[^\u25c1\u25b7\n]{1,48})\u25b7"  # Kimi's
    r"|\[(?P<bracket>/?(?:[A-Z][A-Z_]{2,24}|(?i:think|thinking|thought|reasoning)))\]"  # Mistral's
    r"|assistant(?P<channel>analysis|commentary|final)"  # gpt-oss's, without its marks
    r"|(?P<response>(?i:here(?: is|'s) my response:?))"  # Granite's
)
_CHANNEL = re.compile(
    r"\s?(?P<channel>[A-Za-z]{1,16})\b[^<]{0,200}(?:<\|constrain\|>[^<]{0,200})?<\|message\|>"
)
"""What follows gpt-oss's <|channel|> in the header of a message."""
_FINAL_CHANNEL = "final"
_JSON_BEGINS = re.compile(r"\s*(?:```\w{0,12}\s*)?(?=[\[{])")
_DECODER = json.JSONDecoder()
_BARE_THOUGHT = re.compile(
    # gpt-oss's channel without its marks; Gemini's and Gemma's; Granite's
    r"\s*(?:(?:analysis|commentary)(?!\s*:)|thought\n|(?i:here(?: is|'s) my thought process))"
)
"""How thoughts without marks begin."""

_THOUGHT = frozenset(
    {
        *("think", "thinking", "thought", "thoughts", "reason", "reasoning", "reflection"),
        *("reflect", "rationale", "analysis", "scratchpad", "monologue", "details", "working"),
        *("antthinking", "innerthought", "inner", "unused94", "unused95", "ctrl94", "ctrl95"),
    }
)
"""Words in the names of marks of thoughts: think, mm:think, begin_of_thought, inner_prefix."""
_END = frozenset(
    {*("end", "stop", "close", "finish", "suffix", "unused95", "ctrl95")}  # MedGemma's, Gemini's
)
"""Words in the names of marks that end something, beside those with "/" before them."""
_EDGE = _END | {"begin", "start", "open", "prefix", "of", "unused94", "ctrl94"}
"""Words that say which end of something a mark is."""

_BEGINS_ANSWER = frozenset(
    {
        *("answer", "final", "final_answer", "response", "solution", "output", "result"),
        *("score", "label", "rating", "relevance", "assistant", "content", "begin_of_box"),
        *("begin_of_solution", "start_response", "begin_of_answer", "tool_call", "tool_calls"),
        *("s", "bos", "begin_of_text", "startoftext", "begin_of_sentence"),
    }
)
"""Names of marks that begin an answer, or a text; with "/" before it, they end one."""
_ENDS_ANSWER = frozenset(
    {
        *("end_of_box", "end_of_solution", "end_response", "end_of_answer", "end", "return"),
        *("im_end", "eot_id", "eom_id", "eot", "eom", "eos", "endoftext", "end_of_text", "eod"),
        *("end_of_turn", "end_of_turn_token", "end_of_sentence", "endofturn", "end_of_message"),
        *("end_turn", "turn", "stop", "user", "observation", "call", "pad"),
    }
)
"""Names of marks that end an answer, or a turn."""
_ENDS_TURN = "/inst"

_FORMATTING = frozenset(
    {*("b", "i", "u", "em", "strong", "br", "p", "code", "pre", "sub", "sup", "span", "div")}
)
"""HTML that says nothing of thoughts."""


class _Kind(Enum):
    THOUGHT = auto()
    """Begins a thought."""
    THOUGHT_END = auto()
    ANSWER = auto()
    """Begins an answer."""
    ANSWER_END = auto()
    OPENING = auto()
    """Unknown, and begins something."""
    CLOSING = auto()
    """Unknown, and ends something."""


class _Mark(NamedTuple):
    kind: _Kind
    of: frozenset[str]
    """What it is a mark of, in words: the same for both ends of it."""
    start: int
    end: int


class Span(NamedTuple):
    """Where the answer in a text is."""

    begin: int
    end: int
    preface: str = ""
    """What is said before its mark, behind the last thought."""


_BARE = frozenset({"a thought without marks"})


def _none_is(_name: str) -> bool:
    return False


def find_answer(text: str, is_of_answer: Callable[[str], bool] = _none_is) -> Span | None:
    """Return where the answer in `text` is, or None where there is none.

    A tag is no mark where `is_of_answer` says so of its name, in lower case.
    """
    marks = [*_marks(text, is_of_answer)]
    begin, end, preface = 0, _end_of_answer(text, marks), ""
    thoughts = [_BARE] if _BARE_THOUGHT.match(text) else []  # those that are open
    is_answer, is_told = True, False
    for mark in marks:
        match mark.kind:
            case _Kind.THOUGHT:
                if mark.of not in thoughts:
                    thoughts.append(mark.of)
            case _Kind.THOUGHT_END:
                thoughts = thoughts[: thoughts.index(mark.of)] if mark.of in thoughts else []
                is_answer, is_told, begin, preface = True, False, mark.end, ""
            case _ if thoughts:
                continue  # whatever a thought quotes
            case _Kind.OPENING:
                is_answer = False
            case _Kind.ANSWER_END:
                if is_answer:
                    is_told = is_told or bool(text[begin : mark.start].strip())
                is_answer, begin = is_answer and not is_told, mark.end
            case _:
                is_known = mark.kind is _Kind.ANSWER and is_answer
                preface = f"{preface}{text[begin : mark.start]}\n" if is_known else ""
                is_answer, begin = not is_told, mark.end
    return Span(begin, end, preface) if is_answer and not thoughts and begin <= end else None


def has_thought(text: str) -> bool:
    """Return whether `text` holds a mark of thinking."""
    kinds = {mark.kind for mark in _marks(text, _none_is)}
    return bool(_BARE_THOUGHT.match(text) or kinds & {_Kind.THOUGHT, _Kind.THOUGHT_END})


def without_thoughts(pairs: list[tuple[str, object]]) -> tuple[tuple[str, object], ...]:
    """Return the members of a JSON object but for those that hold thoughts.

    As the decoder's `object_pairs_hook`: a dict would hide repeated keys.
    """
    return tuple(pair for pair in pairs if not _words(_spaced(pair[0])) & _THOUGHT)


def _spaced(name: str) -> str:
    """Return `name` with its words apart: chainOfThought."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@lru_cache(maxsize=256)
def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[\W_]+", name)) - {""}


def _end_of_answer(text: str, marks: list[_Mark]) -> int:
    """Return where the marks at the end of `text` begin, and take them out of `marks`."""
    end = len(text)
    while marks and marks[-1].kind is _Kind.ANSWER_END and not text[marks[-1].end : end].strip():
        end = marks.pop().start
    return end


def _end_of_json(text: str, begin: int) -> int:
    """Return where the JSON object ends that begins at `begin`; without one, that is `begin`."""
    match = _JSON_BEGINS.match(text, begin)
    if match is None:
        return begin
    try:
        return _DECODER.raw_decode(text, match.end())[1]
    except (ValueError, RecursionError):
        return begin


def _marks(text: str, is_of_answer: Callable[[str], bool]) -> Iterator[_Mark]:
    """Yield the marks in `text`, in order, but for those that an answer in JSON quotes."""
    end = _end_of_json(text, 0)
    for match in _MARK.finditer(text):
        mark = None if match.start() < end else _read(match, text, is_of_answer)
        if mark is not None:
            begins_answer = mark.kind in (_Kind.THOUGHT_END, _Kind.ANSWER)
            end = _end_of_json(text, mark.end) if begins_answer else mark.end
            yield mark


def _read(match: re.Match[str], text: str, is_of_answer: Callable[[str], bool]) -> _Mark | None:
    """Return the mark that `match` found in `text`; None where it is a part of the text."""
    start, end = match.span()
    name = next(group for group in match.groups() if group is not None).lower()
    channel = match["channel"]
    if match["special"] == "channel" and (header := _CHANNEL.match(text, end)):
        channel, end = header["channel"].lower(), header.end()
    if channel:
        # A message of the final channel ends the thoughts of the channels before it.
        is_final = channel == _FINAL_CHANNEL
        kind = _Kind.THOUGHT_END if is_final else _Kind.THOUGHT
        return _Mark(kind, frozenset({"final"} if is_final else {"channel"}), start, end)
    if match["response"]:
        return _Mark(_Kind.THOUGHT_END, _BARE, start, end)
    if match["tag"] and _is_text(name.strip("/"), is_of_answer):
        return None
    words = _words(name)
    is_closing = name.startswith("/") or bool(words & _END) or bool(match["half"])
    return _Mark(_kind(name, words, is_closing), words - _EDGE, start, end)


def _is_text(tag: str, is_of_answer: Callable[[str], bool]) -> bool:
    """Return whether `tag` is no mark, but a part of the text."""
    return tag in _FORMATTING or is_of_answer(tag)


def _kind(name: str, words: frozenset[str], is_closing: bool) -> _Kind:
    """Return what the mark called `name`, in lower case, does."""
    if words & _THOUGHT or "channel" in words:
        return _Kind.THOUGHT_END if is_closing else _Kind.THOUGHT
    plain = re.sub(r"[\W_]+", "_", name.strip("/ "))
    if plain in _ENDS_ANSWER or name == _ENDS_TURN:
        return _Kind.ANSWER_END
    if plain in _BEGINS_ANSWER:
        return _Kind.ANSWER_END if is_closing else _Kind.ANSWER
    return _Kind.CLOSING if is_closing else _Kind.OPENING
