"""A bounded map that forgets what was not used lately.

Two generations stand in for an order of use: what is used is in the young one, or moves there; when
the young one is full it becomes the old one, and what was in that and not used since is forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")


class Generations(Generic[K, V]):
    """Keeps values by key, in about `limit` bytes at most; `size` gives those of a value."""

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._most = limit // 2
        """Bytes of one generation."""
        self._measure = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._size = 0
        """Bytes of the young one."""

    def get(self, key: K) -> V | None:
        """Give the value of `key`, or None. A use of it."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def get_all(self, keys: Sequence[K]) -> Sequence[V] | None:
        """Give the value of each of `keys`, all of them true, or None where one has none."""
        values: list[V | None] = [*map(self._young.get, keys)]
        if not all(values):
            values = [self.get(key) for key in keys]
        return cast("list[V]", values) if all(values) else None

    def put(self, key: K, value: V) -> None:
        """Keep `value`, unless it takes more than there is."""
        self.drop(key)
        size = self._measure(value)
        if size > self._most:
            return
        if self._size + size > self._most:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = value
        self._size += size

    def put_all(self, values: Mapping[K, V]) -> None:
        """Keep all of `values`, as `put` does."""
        keys, size = values.keys(), sum(map(self._measure, values.values()))
        is_new = keys.isdisjoint(self._young.keys()) and keys.isdisjoint(self._old.keys())
        if is_new and self._size + size <= self._most:
            self._young.update(values)
            self._size += size
            return
        for key, value in values.items():
            self.put(key, value)

    def drop(self, key: K) -> None:
        """Forget the value of `key`, where there is one."""
        before = self._young.pop(key, None)
        if before is not None:
            self._size -= self._measure(before)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._young, self._old, self._size = {}, {}, 0
