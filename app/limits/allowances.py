"""What the rows of an account allow it, remembered: its own limits, its budgets.

One rule: it is believed for a minute at most, and not a moment longer once a change was heard (`app.changes`), as keys are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from app.bounded_cache import BoundedCache
from app.database import Pool, borrowed
from app.identity import IDENTITY_KEEP_S, Identity
from app.limits.bounds import Allowance, Bounds
from app.limits.budgets import budgets_of
from app.limits.own_limits import find_limits
from app.single_flight import SingleFlight
from events.completions import Tier
from handlers.rules.admission import TIERS, Limits

_ALLOWANCES_MAX: Final = 50_000
"""As many as identities are remembered; most of them are empty."""


class Allowances:
    """Ask `cached` first, which never waits; then `of`."""

    def __init__(
        self,
        pool: Pool,
        tiers: Mapping[Tier, Limits] = TIERS,
        max_connections: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_connections`: the operator's own limit of requests in flight, for every account."""
        self._pool = pool
        self.tiers = tiers
        self._max_connections = max_connections
        self._known: BoundedCache[str, Allowance] = BoundedCache(_ALLOWANCES_MAX, clock=clock)
        self._looking: SingleFlight[str, Allowance] = SingleFlight()
        self._changes_heard = 0

    def cached(self, identity: Identity) -> Bounds | None:
        """What this key is held to, when it is remembered."""
        allowance = self._known.get(identity.account)
        return None if allowance is None else self._bounds(allowance, identity)

    async def of(self, identity: Identity) -> Bounds:
        """What this key is held to. Raises Unavailable."""
        return self._bounds(await self._looking.fetch(identity.account, self._look_up), identity)

    def forget(self, account: str) -> None:
        self._changes_heard += 1
        self._looking.forsake_all()
        self._known.drop(account)

    def forget_all(self) -> None:
        self._changes_heard += 1
        self._looking.forsake_all()
        self._known.clear()

    def _bounds(self, allowance: Allowance, identity: Identity) -> Bounds:
        return allowance.bounds(identity, self.tiers[identity.tier], self._max_connections)

    async def _look_up(self, account: str) -> Allowance:
        before = self._changes_heard
        async with borrowed(self._pool) as connection:
            changes = await find_limits(connection, account)
            budgets = await budgets_of(connection, account)
        allowance = Allowance(changes, tuple(budgets))
        if before == self._changes_heard:  # otherwise what was read may be older than what was told
            self._known.put(account, allowance, keep_s=IDENTITY_KEEP_S)
        return allowance
