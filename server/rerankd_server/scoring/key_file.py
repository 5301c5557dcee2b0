"""A provider's key in a file, which is read again whenever it has changed."""

from pathlib import Path

import structlog

_log = structlog.get_logger()


def clean_key(text: str) -> str:
    """Return the key that `text` holds. Raises ValueError where that is none.

    Mounted secrets end in a newline; files of variables keep the quotes.
    """
    key = text.strip().strip("'\"").strip()
    if key.lower().startswith("bearer "):
        raise ValueError('begins with "Bearer"; give the key alone')
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("holds characters that no key has")
    return key


class KeyFile:
    """The file at `path`, whose key was `key` when the settings were read.

    A file that is gone or holds no key is as good as unchanged: it may be on its way.
    """

    def __init__(self, path: Path, key: str | None) -> None:
        self._path = path.expanduser()
        self._key = key
        self._seen = self._state()

    def changed(self, *, for_sure: bool = False) -> str | None:
        """Return the key if it is another one than before; `for_sure` reads it in any case."""
        state = self._state()
        if state == self._seen and not for_sure:
            return None
        self._seen = state
        try:
            key = clean_key(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            # Its words may quote the file.
            _log.warning(
                "key file cannot be read", file=str(self._path), error=type(error).__name__
            )
            return None
        if not key or key == self._key:
            return None
        self._key = key
        _log.info("key read again", file=str(self._path))
        return key

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
