"""Who guesses keys is stopped before the next guess is looked up.

One rule: a key that this process remembers is never asked where it comes from; so nobody who calls with a good key pays for a
neighbour who guesses, and a flood of guesses costs Postgres one look-up a second for each address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from app.bounded_cache import BoundedCache

Address = IPv4Address | IPv6Address

GUESSES_AT_ONCE: Final = 60
"""More than any number of people behind one address mistype in a minute."""
GUESS_EVERY_S: Final = 1.0
ADDRESSES_MAX: Final = 20_000
"""About 4 MB; who has more addresses than that pushes out the longest silent ones."""
_BLOCK_BITS_V6: Final = 64
"""What one household or machine is given: all of it counts as one."""


class Guesses:
    """How many keys that never were came from where, or how often something else was tried, in one process."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        at_once: int = GUESSES_AT_ONCE,
        every_s: float = GUESS_EVERY_S,
    ) -> None:
        self._clock = clock
        self._every_s = every_s
        self._debt_s_max = (at_once - 1) * every_s
        self._paid_until: BoundedCache[object, float] = BoundedCache(ADDRESSES_MAX, clock=clock)

    def wait_s(self, address: Address | str | None) -> float:
        """Seconds until the next from there; 0: now. None is one address: whoever has none. A text: an e-mail address."""
        debt_s = (self._paid_until.get(_block(address)) or 0.0) - self._clock()
        return max(0.0, debt_s - self._debt_s_max)

    def note(self, address: Address | str | None) -> None:
        """A key from there was looked up, and there is no such key."""
        self._add(address, self._every_s)

    def forgive(self, address: Address | str | None) -> None:
        """What was noted last was no guess."""
        self._add(address, -self._every_s)

    def _add(self, address: Address | str | None, debt_s: float) -> None:
        block, now = _block(address), self._clock()
        paid_until = max(self._paid_until.get(block) or 0.0, now) + debt_s
        self._paid_until.put(block, paid_until, keep_s=paid_until - now)

    def __len__(self) -> int:
        return len(self._paid_until)


def _block(address: Address | str | None) -> object:
    if isinstance(address, IPv6Address):
        return int(address) >> (128 - _BLOCK_BITS_V6)
    return address
