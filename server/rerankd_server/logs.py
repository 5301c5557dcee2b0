"""Structured logs on standard error.

Nothing private is logged: no key, no query, no document. An exception's own words may hold any of
them, so a defect is logged as its type and the places in the code that it passed through.
"""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import structlog

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log that somebody else is to write."""

    level: LogLevel
    event: str
    fields: Mapping[str, object] = field(default_factory=dict)

    def write(self, **more: object) -> None:
        """Write it, with some fields more."""
        getattr(structlog.get_logger(), self.level)(self.event, **self.fields, **more)


class _Logger(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]
    """The logger that everyone has, and keeps: `set_level` changes it for all."""


def set_level(level: LogLevel) -> None:
    """Leave out of the log what is below `level`, from now on."""
    filtering = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    for name in get_args(LogLevel):
        setattr(_Logger, name, getattr(filtering, name))


def configure_logs(log_format: LogFormat, level: LogLevel, worker: int | None = None) -> None:
    """Send logs to standard error, a line each: for people (`console`) or machines (`json`).

    Each says of which `worker` it is, where there are several.
    """

    def name_worker(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return line if worker is None else {**line, "worker": worker}

    set_level(level)
    renderer: structlog.typing.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_worker,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def log_defect(error: BaseException) -> None:
    """Log an exception that nobody expected: what it is and where it rose, not what it says."""
    places = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    structlog.get_logger().error("defect", error=type(error).__qualname__, places=places)
