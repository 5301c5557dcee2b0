"""Reads what a provider says of an error: from the bytes of the body, whatever their shape.

OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others wrap that in a list, send a
text, `detail[].loc` (FastAPI), `message.detail` (Mistral), the body of the server behind them as a
text within a text (`metadata.raw`), or all of it under status 200. So a body is walked through, and
what its members are called says what they are. What stands within a text may be of the call itself.
"""

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

from rerankd_server.scoring.redirects import target

LONGEST_PAUSE = 600.0
"""Seconds: a provider that asks for more is asked again after this."""

_MOST_SECONDS = 10**9

UNKNOWN = 0
"""The status of an error that came under status 200 and names none."""

MOST_BYTES = 1 << 18
"""Of an error, so many are read."""
_MOST_NODES = 2000
_DEEPEST = 20
_MOST_WORDS = 4000
_LONGEST_NAME = 200
CODE = re.compile(r"[a-z_]{1,48}")
"""Codes that may be shown: too plain to hold a key or a text."""

_CODE_KEYS = ("code", "status", "reason", "error_code", "errorcode", "type", "__type")
"""Members that hold codes; those that say most come first."""
_NAME_KEYS = ("param", "parameter", "field", "property")
_STATUS_KEYS = ("code", "status", "status_code", "statuscode", "http_status", "error_code")
_PAUSE_KEYS = {
    "retrydelay": 1.0,
    "retry_delay": 1.0,
    "retry_after": 1.0,
    "retryafter": 1.0,
    "retry-after": 1.0,
    "retry_after_seconds": 1.0,
    "retryafterseconds": 1.0,
    "estimated_time": 1.0,  # Hugging Face's, of loading a model
    "retry_after_ms": 0.001,
    "retryafterms": 0.001,
}
"""Members that hold a pause, and the seconds of their unit."""
_ECHOES = frozenset(
    {
        *("input", "inputs", "ctx", "body", "request", "request_body", "failed_generation"),
        *("prompt", "messages", "documents", "query", "payload", "received", "url", "link"),
    }
)
"""Members that repeat what was sent, or point elsewhere."""
_ANSWERS = frozenset({"choices", "data", "usage"})
"""Members that hold what the model said."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
_UNIT = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)(?![a-z])"
_PAUSE = re.compile(
    r"(?:again|retry(?:ing)?|wait(?:ing)?|resets?)\b[^0-9\n]{0,40}"
    rf"(?:{_NUMBER}\s{{0,4}}{_UNIT}[\s,]{{0,4}}(?:and\s{{0,4}})?){{1,5}}",
    re.IGNORECASE,
)
_AMOUNT = re.compile(rf"(?<![0-9.])(?P<number>{_NUMBER})\s{{0,4}}(?P<unit>{_UNIT})", re.IGNORECASE)
_EVENT = re.compile(r"\s*(?:event:[^\n]*\n)?data:\s*")
"""How a server begins that streams also where nobody asked for it."""
_JSON_BEGINS = re.compile(r"\{\s*\"|\[\s*\{")
_DECODER = json.JSONDecoder()


@dataclass(slots=True)
class ErrorReport:
    """What a provider says of an error."""

    status: int
    """Of HTTP; under 200 the one that the body names, or UNKNOWN."""
    codes: Sequence[str] = ()
    """Codes in lower case, such as `insufficient_quota`; the most telling first."""
    quoted_codes: Sequence[str] = ()
    """Codes in texts that are JSON: of a server behind the provider, or of what was sent."""
    names: Sequence[str] = ()
    """What the body says that the error is about, such as `max_tokens`."""
    words: str = ""
    """All that is said in words, bounded. It may quote what was sent, a key too: never shown."""
    pause: float | None = None
    """Seconds until the provider may be asked again, where its headers or members say so."""
    said_pauses: Sequence[tuple[str, float]] = ()
    """The same where words say so, with those words: they may quote what was sent."""
    redirects_to: str | None = None
    """The host that a redirect names, empty where it names none; None where it is no redirect. It
    may quote what was sent."""

    @property
    def code(self) -> str:
        """The code that may be shown; empty where there is none."""
        shown = [code for code in self.codes if CODE.fullmatch(code)]
        telling = (code for code in shown if code != "error")
        return next(telling, "error" if shown else "")


@dataclass(slots=True)
class _Found:
    """What a walk through a body has found so far."""

    codes: dict[str, list[str]] = field(default_factory=dict)
    quoted_codes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    quoted_pauses: list[tuple[str, float]] = field(default_factory=list)
    nodes: int = 0


def read_report(status: int, headers: Mapping[str, str], body: bytes) -> ErrorReport:
    """Return what a reply of HTTP's `status` says."""
    written = body[:MOST_BYTES].decode("utf-8-sig", "replace")
    event = _EVENT.match(written)
    begin = event.end() if event else len(written) - len(written.lstrip())
    decoded = _json(written, begin)
    report = report_of(status, headers, written if decoded is None else decoded[0])
    return replace(report, redirects_to=target(headers)) if 300 <= status < 400 else report


def report_of(status: int, headers: Mapping[str, str], value: object) -> ErrorReport:
    """Return what `value`, decoded JSON or a text, says beside HTTP's `status`."""
    found = _Found()
    _walk(value, found)
    words = "\n".join(found.words)[:_MOST_WORDS]
    if status < 300:
        status = next(iter(found.statuses), UNKNOWN)
    pauses = (_bounded(seconds) for seconds in (_header_pause(headers), *found.pauses))
    said = [*found.quoted_pauses, *((m[0], _sum_of(m[0])) for m in _PAUSE.finditer(words))]
    return ErrorReport(
        status=status,
        codes=[code for key in _CODE_KEYS for code in found.codes.get(key, ())],
        quoted_codes=found.quoted_codes,
        names=found.names,
        words=words,
        pause=next((seconds for seconds in pauses if seconds is not None), None),
        said_pauses=[(text, s) for text, pause in said if (s := _bounded(pause)) is not None],
    )


def error_in(value: object) -> object | None:
    """Return the error in a decoded reply of status 200, also one of a choice; None without."""
    found: object = None
    match value:
        case [{"error": error}, *_] if _is_error(error):
            found = {"error": error}
        case {"error": error, **others} if _is_error(error):
            found = {"error": error, **{k: v for k, v in others.items() if k not in _ANSWERS}}
        case {"choices": [{"error": error}, *_]} if _is_error(error):
            found = {"error": error}
        case {"choices": [_, *_]} | {"data": [_, *_]}:
            pass
        case {"object": "error"} | {"success": False} | {"errors": [_, *_]} | {"detail": _}:
            found = value
        case {"message": str()} | {"msg": str()} | {"error_msg": str()}:
            found = value
        case {"base_resp": {"status_code": int(status)}} if status:  # MiniMax
            found = value
        case dict() if report_of(200, {}, value).status != UNKNOWN:
            found = value
    return found


def _is_error(error: object) -> bool:
    """Return whether the member `error` says anything."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _walk(value: object, found: _Found, depth: int = 0, *, is_quoted: bool = False) -> None:
    """Take in what `value`, decoded JSON, says; `is_quoted` where it stood within a text."""
    found.nodes += 1
    if found.nodes > _MOST_NODES or depth > _DEEPEST:
        return
    match value:
        case dict():
            for key, inner in value.items():
                if key.lower() not in _ECHOES and not _take(key.lower(), inner, found, is_quoted):
                    _walk(inner, found, depth + 1, is_quoted=is_quoted)
        case list():
            for inner in value:
                _walk(inner, found, depth + 1, is_quoted=is_quoted)
        case str():
            match = _JSON_BEGINS.search(value)
            nested = _json(value, match.start()) if match else None
            if match is None or nested is None:
                found.words.append(value)
            else:
                found.words += [value[: match.start()], value[nested[1] :]]
                _walk(nested[0], found, depth + 1, is_quoted=True)


def _take(key: str, value: object, found: _Found, is_quoted: bool) -> bool:
    """Take in the member `key` of an object; return whether that is all that it says."""
    if key in _STATUS_KEYS and not is_quoted and (status := _status(value)):
        found.statuses.append(status)
    if key in _PAUSE_KEYS and (seconds := _seconds(value, _PAUSE_KEYS[key])) is not None:
        if is_quoted:
            found.quoted_pauses.append((str(value), seconds))
        else:
            found.pauses.append(seconds)
    elif key == "loc" and isinstance(value, list):
        found.names.extend(step[:_LONGEST_NAME] for step in value if isinstance(step, str))
    elif key in _NAME_KEYS and isinstance(value, str):
        found.names.append(value[:_LONGEST_NAME])
    elif key in _CODE_KEYS and isinstance(value, str):
        code = value[:_LONGEST_NAME].lower().rpartition("#")[2]  # AWS puts its module before it
        (found.quoted_codes if is_quoted else found.codes.setdefault(key, [])).append(code)
    else:
        return False
    return True


def _json(text: str, begin: int) -> tuple[object, int] | None:
    """Return the object or list in `text` at `begin`, and where it ends; None without one."""
    if not text.startswith(("{", "["), begin):
        return None
    try:
        return _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None


def _status(value: object) -> int | None:
    """Return the status of HTTP that `value` is, also as a text."""
    if isinstance(value, str) and re.fullmatch("[45][0-9][0-9]", value):
        return int(value)
    is_status = isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599
    return value if is_status else None  # type: ignore[return-value]


def _seconds(value: object, unit: float) -> float | None:
    """Return the seconds of a pause as a body writes it: 34, "34s", "34", {"seconds": 34}."""
    match value:
        case {"seconds": (int() | float() | str()) as seconds}:
            return _seconds(seconds, 1.0)
        case bool():
            return None
        case int() | float():
            return float(max(min(value, _MOST_SECONDS), -1)) * unit
        case str() if re.fullmatch(rf"\s{{0,4}}{_NUMBER}\s{{0,4}}", value):
            return float(value) * unit
        case str():
            return _sum_of(value)
        case _:
            return None


def _sum_of(text: str) -> float | None:
    """Return the seconds of "6m0s", "1 minute and 5 seconds", "12ms"; None where it is none."""
    amounts = [*_AMOUNT.finditer(text)]
    return sum(float(each["number"]) * _unit(each["unit"].lower()) for each in amounts) or None


def _unit(name: str) -> float:
    return _UNITS["ms" if name.startswith(("ms", "milli")) else name[0]]


def _header_pause(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3), or OpenAI's milliseconds."""
    try:
        if text := headers.get("retry-after-ms"):
            return float(text) / 1000
        if not (text := headers.get("retry-after")):
            return None
        if text.strip().replace(".", "", 1).isdigit():
            return float(text)
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float | None) -> float | None:
    """Return a pause within bounds; None where it is none."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), LONGEST_PAUSE)
