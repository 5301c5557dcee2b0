"""Files as numbered lines of text, and the values in them. What is wrong is said with its line."""

import gzip
import json
import math
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_GZIP = b"\x1f\x8b"
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MOST_SHOWN = 60
"""Characters of a wrong value that a message repeats."""
LARGEST_LABEL = 1000
"""trec_eval keeps a table as long as the largest label."""


class CollectionError(Exception):
    """A file that holds no judged candidates; the message names the line, and what to do."""


def wrong(name: str, line: int, what: str) -> CollectionError:
    """Give the error for a line of a file called `name`."""
    return CollectionError(f"{name}, line {line}: {what}")


def shown(value: str) -> str:
    """Give a value as a message may repeat it: quoted, short, harmless to a terminal."""
    return repr(value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}...")


def read_lines(path: Path) -> Iterator[bytes]:
    """Read a file, gzipped or not, line by line. Raises CollectionError."""
    count = 0
    try:
        with path.open("rb") as file:
            packed = file.peek(len(_GZIP)).startswith(_GZIP)
            for line in gzip.GzipFile(fileobj=file) if packed else file:
                yield line
                count += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise wrong(str(path), count + 1, f"the gzip file is damaged here: {error}") from None
    except OSError as error:
        raise CollectionError(f"{path}: {error.strerror}") from None


def is_folder(path: Path) -> bool:
    """Whether there is a folder; a name that no file can have is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def numbered(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Decode lines, and give each that is not blank with its number, from 1.

    Raises CollectionError, also where all are blank.
    """
    is_empty = True
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise wrong(name, number, "is not UTF-8; convert the file to UTF-8") from None
        if line.strip():
            is_empty = False
            yield number, line
    if is_empty:
        raise wrong(name, 1, "the file is empty; is it the right one?")


def objects(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON lines: an object each, with its line's number. Raises CollectionError."""
    for number, line in numbered(lines, name):
        try:
            value = json.loads(line)
            if "\\u" in line:
                json.dumps(value, ensure_ascii=False).encode()  # half a character has no UTF-8
        except (ValueError, RecursionError) as error:
            raise wrong(name, number, f"is not JSON: {error}; give one object a line") from None
        if not isinstance(value, dict):
            raise wrong(name, number, "is JSON but not an object; give one object a line")
        yield number, value


def label_in(text: str, name: str, line: int) -> int:
    """Read a relevance label: a whole number. Raises CollectionError."""
    if not _WHOLE.fullmatch(text) or abs(int(text)) > LARGEST_LABEL:
        raise wrong(
            name, line, f"the label is {shown(text)}; give a whole number up to {LARGEST_LABEL:,}"
        )
    return int(text)


def rank_in(text: str, name: str, line: int) -> int:
    """Read a rank: a whole number. Raises CollectionError."""
    if not _WHOLE.fullmatch(text):
        raise wrong(name, line, f"the rank is {shown(text)}; give a whole number")
    return int(text)


def number_in(text: str, what: str, name: str, line: int) -> float:
    """Read a finite number. Raises CollectionError."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise wrong(name, line, f"the {what} is {shown(text)}; give a finite number")
    return value


def is_finite(value: object) -> bool:
    """Whether a value from JSON is a number that a message can hold."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # NaN is not, and an int may be any size
    )
