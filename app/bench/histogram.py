"""Times, counted in buckets one percent apart: a million of them cost a few kilobytes and add up over processes.

One rule: nothing is thrown away; what is out of range counts in the first or last bucket.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

_STEP: Final = math.log(1.01)
_LAST: Final = int(math.log(3600 * 1e6) / _STEP)
"""The bucket of one hour."""


class Histogram:
    """Durations by bucket; bucket n holds from 1.01ⁿ microseconds to one percent more."""

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: Counter[int] = Counter(buckets or {})

    def add(self, duration_s: float) -> None:
        microseconds = duration_s * 1e6
        self.buckets[min(_LAST, int(math.log(microseconds) / _STEP)) if microseconds > 1 else 0] += 1

    @classmethod
    def merged(cls, several: Iterable[Histogram]) -> Histogram:
        whole = cls()
        for one in several:
            whole.buckets.update(one.buckets)
        return whole

    @property
    def count(self) -> int:
        return self.buckets.total()

    def quantile_ms(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of all do not exceed, in milliseconds, to half a percent; None: none."""
        wanted, seen = share * self.count, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted and seen:
                return float(math.exp((bucket + 0.5) * _STEP) / 1000)
        return None
