"""What was read or stored last, in memory: a warm pair is found without a look at the disk."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from rerankd_server.caching.generations import Generations
from rerankd_server.caching.store import Store
from rerankd_server.scoring.scorer import Finding, Score

_ENTRY = 350
"""Bytes that one finding takes beside a vector's data: key, place and numbers, as measured."""


class Findings(Protocol):
    """Where findings are kept, by 32-byte key."""

    async def read(self, keys: Sequence[bytes], /) -> Mapping[bytes, Finding]:
        """Give what is kept under `keys`, without those under which nothing is."""

    async def write(self, findings: Mapping[bytes, Finding], /) -> None:
        """Keep `findings`; when this returns they survive the process's death."""


class Memory:
    """Keeps what `store` gave or was given, in at most about `limit` bytes; 0 for nothing at all.

    Another process's later writes to the same store are not seen while a pair is kept here.
    """

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._kept: Generations[Finding] = Generations(limit, _size)

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        """Give what is kept here or in the store; see `Findings`."""
        oldest = self._store.oldest()
        get = self._kept.get
        found: dict[bytes, Finding] = {}
        missing = []
        for key in keys:
            finding = get(key)
            if finding is None or finding.scored_at < oldest:
                missing.append(key)
            else:
                found[key] = finding
        if missing:
            for key, finding in (await self._store.read(missing)).items():
                found[key] = self._newer(key, finding)
        return found

    async def write(self, findings: Mapping[bytes, Finding]) -> None:
        """Keep `findings` here and in the store; see `Findings`."""
        await self._store.write(findings)
        for key, finding in findings.items():
            self._kept.put(key, _slim(finding))

    def has(self, findings: Mapping[bytes, Finding]) -> bool:
        """Whether these very findings would be read now, without a look at the disk."""
        oldest = self._store.oldest()
        get = self._kept.get
        return all(
            get(key) is finding and finding.scored_at >= oldest for key, finding in findings.items()
        )

    def _newer(self, key: bytes, stored: Finding) -> Finding:
        """Keep what was read, unless something newer was written meanwhile; gives what is kept."""
        kept = self._kept.get(key)
        if kept is not None and kept.scored_at >= stored.scored_at:
            return kept
        slim = _slim(stored)
        self._kept.put(key, slim)
        return slim


def _size(finding: Finding) -> int:
    return _ENTRY + (0 if isinstance(finding, Score) else len(finding.data))


def _slim(finding: Finding) -> Finding:
    """Leave out what nobody asks a stored score for, and have each model's name once."""
    if isinstance(finding, Score):
        return replace(finding, labels=(), model=sys.intern(finding.model))
    return replace(finding, model=sys.intern(finding.model))
