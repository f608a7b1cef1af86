"""Who waits for something else to happen is told when this process is about to stop.

One rule: only those are told at once who go on elsewhere without a gap; everybody else is finished first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Leaving:
    """Whether this process is about to stop, and whom to wake then."""

    def __init__(self) -> None:
        self._told = False
        self._waiting: set[Callable[[], None]] = set()

    def tell(self) -> int:
        """It is. → how many have been woken."""
        self._told = True
        waiting = list(self._waiting)
        for wake in waiting:
            wake()
        return len(waiting)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` once when this process is about to stop; at once when it is already."""
        if self._told:
            wake()
        self._waiting.add(wake)
        try:
            yield
        finally:
            self._waiting.discard(wake)
