"""What was read or stored last, in memory: a warm pair is found without a look at the disk."""

from collections.abc import Mapping, Sequence

from rerankd_server.caching.entry import Outcome, Standing
from rerankd_server.caching.generations import Generations
from rerankd_server.caching.key import HALF, keys_of
from rerankd_server.caching.store import Store
from rerankd_server.scoring.scorer import Documents, Finding, Judgement, Score, shared

_ENTRY = 220
"""Bytes that one finding takes beside a vector's data: key, place and numbers, as measured."""


class Memory:
    """Keeps what `store` gave or was given, in at most about `limit` bytes; 0 for nothing at all.

    It goes by the second half of each key, which is enough: that is a hash of the first half and
    the document. All is forgotten once another process has replaced something: see `Epoch`.
    """

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._store.watch(self._take_in)
        self._kept: Generations[bytes, Finding] = Generations(limit, _size)
        self._epoch = 0
        """That of what is kept."""
        self._writes = 0

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Finding]:
        """Give the findings under `keys`, all different, without those under which nothing is."""
        self._catch_up()
        epoch, writes = self._epoch, self._writes
        get = self._kept.get
        kept = {key: finding for key in keys if (finding := get(key[HALF:]))}
        found = self._store.freshness.among(kept)
        if len(found) == len(keys):
            return found
        stored = await self._store.read([key for key in keys if key not in found])
        # Something newer may have been written meanwhile.
        if self._store.epoch.now == epoch and self._writes == writes:
            self._keep(stored)
        return {**found, **stored}

    def recall(self, documents: Documents, of_query: bytes) -> Sequence[Finding] | None:
        """Give the finding about each of `documents` at once, or None where that cannot be."""
        self._catch_up()
        keys = keys_of(documents, of_query)
        found = self._kept.get_all([key[HALF:] for key in keys])
        if found and self._store.freshness.are_fresh(found):
            return found
        stored = self._store.read_at_once(keys)
        if not stored:
            return None
        self._keep(stored)
        found = [stored[key] for key in keys if key in stored]
        return found if len(found) == len(keys) else None

    def _keep(self, findings: Mapping[bytes, Finding]) -> None:
        self._kept.put_all({key[HALF:]: finding for key, finding in findings.items()})

    def _catch_up(self) -> None:
        """Forget all, if another process has replaced something."""
        if self._epoch != (epoch := self._store.epoch.now):
            self._kept.clear()
            self._epoch = epoch

    def _take_in(self, outcome: Outcome, turn: tuple[int, int] | None) -> None:
        """Keep what is stored by now, or waits to be; `turn` says which epoch that has ended."""
        if turn is not None and turn[0] == self._epoch:
            self._epoch = turn[1]  # all else that is kept here holds as before
        self._writes += 1
        self._keep({key: _slim(finding) for key, finding in outcome.items() if finding})
        for key, finding in outcome.items():
            if finding is None:
                self._kept.drop(key[HALF:])

    async def write(
        self,
        findings: Mapping[bytes, Finding],
        since: Mapping[bytes, int] | None = None,
        *,
        is_refresh: bool = False,
    ) -> Mapping[bytes, Finding]:
        """Store `findings`, and give what everyone reads from now on; see `Store.write`."""
        self._catch_up()
        outcome = await self._store.write(findings, since, is_refresh=is_refresh)
        return {key: outcome[key] or finding for key, finding in findings.items()}

    def standing(self) -> Standing:
        """See `Store.standing`."""
        return self._store.standing()

    async def hand_out(self) -> int:
        """See `Store.hand_out`."""
        return await self._store.hand_out()


def _size(finding: Finding) -> int:
    return _ENTRY + (0 if isinstance(finding, Score) else len(finding.data))


def _slim(finding: Finding) -> Finding:
    """Leave out what nobody asks a stored score for."""
    if isinstance(finding, Judgement):
        prompt, completion = finding.prompt_tokens, finding.completion_tokens
        return Score(finding.value, shared(prompt), shared(completion), shared(finding.scored_at))
    return finding
