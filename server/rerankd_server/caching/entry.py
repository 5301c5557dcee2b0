"""A score on its way into the store, and which of two scores of one pair is kept.

This is optimistic concurrency control: nobody locks a pair, and conflicts are settled on writing.

The order of scores is the order in which their calls were sent, as far as it matters. It goes by
revisions, numbers that the store hands out in transactions, and never by a clock:

- A request for fresh scores (REFRESH) is handed a revision of its own before its calls are sent.
- A plain call goes by the last one that was handed out before it was sent.
- A score replaces a stored one that can still be used only for a REFRESH, and only if it went by a
  later revision. So what is stored was sent no earlier than any REFRESH that has returned.
- A purge is handed a revision, too: what was sent before it is not stored after it.
- They are even. A request for fresh scores that cannot be handed one, as the database is locked,
  goes by the odd one behind the last: later than all before, and earlier than all that come.

Whoever loses takes what is stored.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from rerankd_server.caching.envelope import unseal
from rerankd_server.scoring.scorer import Finding

Outcome = Mapping[bytes, Finding | None]
"""What is stored under a key, or None where nothing is."""


class Row(NamedTuple):
    """What is stored under a key."""

    value: bytes
    since: int
    """The revision that it went by."""


class Standing(NamedTuple):
    """How far the store's revisions have come."""

    revision: int = 0
    """The last that was handed out."""
    floor: int = 0
    """That of the last purge."""

    @property
    def next(self) -> int:
        """The revision that is handed out next."""
        return self.revision + 2 + self.revision % 2

    @property
    def between(self) -> int:
        """The one before that, which is never handed out."""
        return self.next - 1


class Entry(NamedTuple):
    """A finding that is to be stored."""

    finding: Finding
    value: bytes
    """The same, sealed."""
    since: int
    """The revision that its call went by."""
    is_refresh: bool
    """Whether it was asked for to replace what is stored."""

    def replaces(self, since: int) -> bool:
        """Whether it replaces a score that went by the revision `since` and can be used."""
        return self.is_refresh and self.since > since


class Decision(NamedTuple):
    """What becomes of some entries."""

    outcome: Outcome
    """What is stored by now under each key; None under one whose score was purged."""
    chosen: Mapping[bytes, Row]
    """What is to be written."""
    has_replaced: bool
    """Whether others may have something else in memory."""


def decide(
    entries: Mapping[bytes, Entry],
    rows: Mapping[bytes, Row],
    standing: Standing,
    is_fresh: Callable[[int], bool],
) -> Decision:
    """Choose between `entries` and the `rows` that are stored under their keys.

    `is_fresh` tells whether a score of some Unix second may be used.
    """
    outcome: dict[bytes, Finding | None] = {key: entry.finding for key, entry in entries.items()}
    chosen = {}
    has_replaced = False
    for key, entry in entries.items():
        row = rows.get(key)
        if row is None:  # as it mostly is
            if entry.since < standing.floor:
                outcome[key] = None
            else:
                chosen[key] = Row(entry.value, min(entry.since, standing.between))
            continue
        stored = unseal(key, row.value)
        usable = stored if stored and is_fresh(stored.scored_at) else None
        # A purge that is under way deletes it in a moment, so it can neither win nor be given.
        is_purged = row.since < standing.floor
        has_won = not usable or is_purged or entry.replaces(row.since)
        if entry.since < standing.floor or not has_won:
            outcome[key] = None if is_purged else usable
            continue
        chosen[key] = Row(entry.value, min(entry.since, standing.between))
        # Who has in memory what is damaged here, or is replaced, has to forget it.
        has_replaced = has_replaced or bool(usable or not stored)
    return Decision(outcome, chosen, has_replaced)
