"""What a process remembers for a short while. One rule: it may forget at any moment, and never holds more than its bound.

Synchronous, so that a hit costs well under a microsecond and no turn of the event loop.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Least recently used goes first; every value has its own end. `clock` counts seconds and never goes back."""

    def __init__(self, entries_max: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries_max = entries_max
        self._clock = clock
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Key, value: Value, *, keep_s: float) -> None:
        self._entries[key] = (self._clock() + keep_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def drop_where(self, fits: Callable[[Value], bool]) -> None:
        """Walks over all entries: for what happens seldom."""
        for key in [key for key, (_, value) in self._entries.items() if fits(value)]:
            del self._entries[key]

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
