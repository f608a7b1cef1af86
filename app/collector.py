"""How often Python's garbage collector looks for cycles in a process that serves.

One rule: what a process is made of is there before the first request, and stays; nobody looks at it again.
"""

from __future__ import annotations

import gc
from typing import Final

ALLOCATIONS: Final = 10_000
"""Objects that a process may make, beyond those it lets go, between two rounds: some fifty requests' worth of what hangs
together in cycles. At Python's own pace, 700, a tenth of a request's time goes into looking."""

ALLOCATIONS_OF_READERS: Final = 50_000
"""The same where nothing but events is read, which hold no cycles: objects of about three thousand events."""


def rest(allocations: int = ALLOCATIONS) -> None:
    """Once all is loaded and open."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(allocations, 20, 100)
