"""Says on standard error what made a command fail."""

import sys

from rerankd import UnavailableError


def tell(error: Exception, address: str) -> int:
    """Print `error`, and what it says beside its message; gives the exit status, 1.

    `address` is the server's that was asked.
    """
    print(f"rerankd: {error}", file=sys.stderr)
    for violation in getattr(error, "violations", ())[1:]:
        print(f"  {violation.field}: {violation.description}", file=sys.stderr)
    cause = getattr(error, "cause", error)
    if isinstance(cause, UnavailableError) and not cause.reason:
        print(f"  is `rerankd serve` running at {address}?", file=sys.stderr)
    return 1
