"""Locks on files that processes share, where the platform has them."""

from importlib.util import find_spec

HAS_LOCKS = find_spec("fcntl") is not None
"""Whether there is `fcntl`, which is imported only then."""


def words(error: OSError) -> str:
    """Give the kind of the error, and what it says, without the path that it names."""
    return f"{type(error).__name__}: {error.strerror}"
