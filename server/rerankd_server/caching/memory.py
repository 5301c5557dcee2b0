"""What was read or stored last, in memory: a warm pair is found without a look at the disk.

Two generations stand in for an order of use: what is used is in the young one or moves there; when
the young one is full it becomes the old one, and what was in that and not used since is forgotten.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

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
        self._most = limit // 2
        """Bytes of one generation."""
        self._young: dict[bytes, Finding] = {}
        self._old: dict[bytes, Finding] = {}
        self._size = 0
        """Bytes of the young one."""

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        """Give what is kept here or in the store; see `Findings`."""
        oldest = self._store.oldest()
        found: dict[bytes, Finding] = {}
        missing = []
        for key in keys:
            finding = self._young.get(key) or self._revived(key)
            if finding is None or finding.scored_at < oldest:
                missing.append(key)
            else:
                found[key] = finding
        if missing:
            stored = await self._store.read(missing)
            self._keep({key: each for key, each in stored.items() if self._is_news(key, each)})
            found.update(stored)
        return found

    async def write(self, findings: Mapping[bytes, Finding]) -> None:
        """Keep `findings` here and in the store; see `Findings`."""
        await self._store.write(findings)
        self._keep(findings)

    def _is_news(self, key: bytes, finding: Finding) -> bool:
        """Whether nothing newer was written since `finding` was read."""
        young = self._young.get(key)
        return young is None or young.scored_at < finding.scored_at

    def _revived(self, key: bytes) -> Finding | None:
        finding = self._old.get(key)
        if finding is not None:
            self._keep({key: finding})
        return finding

    def _keep(self, findings: Mapping[bytes, Finding]) -> None:
        for key, finding in findings.items():
            size = _size(finding)
            if key not in self._young:
                if self._size + size > self._most:
                    self._old, self._young, self._size = self._young, {}, 0
                if size > self._most:
                    continue
                self._size += size
            self._young[key] = _slim(finding)


def _size(finding: Finding) -> int:
    return _ENTRY + (0 if isinstance(finding, Score) else len(finding.data))


def _slim(finding: Finding) -> Finding:
    """Leave out what nobody asks a stored score for."""
    if isinstance(finding, Score) and finding.labels:
        return replace(finding, labels=(), model=sys.intern(finding.model))
    return finding
