"""Why a model stopped, as a provider's finish reason says it.

OpenAI's words are `stop`, `length`, `content_filter` and `tool_calls`. Gateways pass on those of
the model behind them, in any case, and some put two together: `content_filter: SAFETY`.
"""

import re
from enum import Enum


class Finish(Enum):
    """Why a model stopped."""

    WHOLE = "whole"
    """It had said all."""
    CUT_OFF = "cut_off"
    """It reached the limit of tokens."""
    DECLINED = "declined"
    """It, or a filter, did not want to say more."""
    TOOL_CALL = "tool_call"
    """It wanted to call a tool rather than answer."""
    FAILED = "failed"
    """The provider failed while it answered."""
    UNKNOWN = "unknown"
    """There is no reason, or none that is known: by itself that is no fault of the reply."""


_WHOLE = frozenset(
    {
        *("stop", "eos_token", "eos", "end_turn", "stop_sequence", "complete", "completed"),
        *("end_of_turn", "end_of_text", "endoftext", "finished", "finish", "done", "stop_token"),
        *("end", "stop_sequence_reached", "eos_found", "stop_string_found"),
    }
)
_WORDS = (
    (Finish.TOOL_CALL, re.compile(r"tool|function")),
    (
        Finish.DECLINED,
        re.compile(
            r"filter|safety|prohibited|block|recitation|spii|refus|guardrail|moderat|sensitive"
            r"|toxic|blacklist|policy|^language$"
        ),
    ),
    (
        Finish.CUT_OFF,
        re.compile(
            r"max(?:imum)?_?(?:\w+_)?(?:tokens|length)|^length$|token_?limit|(?:context|model)_length"
            r"|^(?:error_)?limit$|context_window|truncat|incomplete|not_finished"
        ),
    ),
    (
        Finish.FAILED,
        re.compile(
            r"error|fail|abort|cancel|timeout|time_limit|interrupt|insufficient|unloaded|user_stopped"
        ),
    ),
)
"""What reasons hold that are none of a whole reply, as vendors write them; the first one counts."""

_LONGEST = 64
"""Characters of a reason that are looked at."""


def read_finish(reason: object) -> Finish:
    """Return what the finish reason of a reply says: a word, or SGLang's object that holds one."""
    match reason:
        case {"type": str(word)} | str(word):
            pass
        case _:
            return Finish.UNKNOWN
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word.strip()[:_LONGEST])  # maxTokens
    words = re.sub(r"[\W_]+", "_", spaced).lower().removeprefix("finish_reason_")
    if words in _WHOLE:
        return Finish.WHOLE
    return next((finish for finish, said in _WORDS if said.search(words)), Finish.UNKNOWN)
