"""Customers' keys in a worker's hands: sealed, for seconds, and a bounded number.

One rule: what is remembered goes by the account, and is forgotten when the account is told to have changed, or after KEEP_S
where the word of it did not come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from app.bounded_cache import BoundedCache
from app.database import Pool, borrowed
from app.provider_keys.store import SealedKey, sealed_of
from app.single_flight import SingleFlight
from events.completions import ProviderKey

KEEP_S: Final = 5.0
"""A key that was taken away is used no longer than this, whatever is broken."""

ACCOUNTS_MAX: Final = 5_000
"""A few hundred bytes for each key."""

Keys = Mapping[str, SealedKey]
"""By the provider's name."""


class Cabinet:
    def __init__(self, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._known: BoundedCache[str, Keys] = BoundedCache(ACCOUNTS_MAX, clock=clock)
        self._reading: SingleFlight[str, Keys] = SingleFlight()
        self._forgotten = 0

    async def of(self, account: str, named: tuple[ProviderKey, ...]) -> Keys:
        """The account's keys as they stand, read anew where one that was named is not among what is remembered.

        Raises `app.database.Unavailable`.
        """
        known = self._known.get(account)
        if known is not None and all(
            (found := known.get(key.provider)) is not None and found.version == key.version for key in named
        ):
            return known
        return await self._reading.fetch(account, self._read)

    def forget(self, account: str) -> None:
        self._forgotten += 1
        self._reading.forsake_all()
        self._known.drop(account)

    def forget_all(self) -> None:
        self._forgotten += 1
        self._reading.forsake_all()
        self._known.clear()

    async def _read(self, account: str) -> Keys:
        before = self._forgotten
        async with borrowed(self._pool) as connection:
            found = await sealed_of(connection, account)
        if before == self._forgotten:  # otherwise what was read may be older than the change that was told
            self._known.put(account, found, keep_s=KEEP_S)
        return found
