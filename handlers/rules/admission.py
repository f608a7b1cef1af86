"""How much each tier may ask for. Data only: the script in the log server counts, this file says up to where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from events.completions import Tier


@dataclass(frozen=True, slots=True)
class Limits:
    """None means: no limit."""

    requests_a_minute: int | None
    burst: int
    """Requests that may come at once after a quiet minute; meaningless where there is no rate."""
    concurrent: int | None
    """Requests in flight at one moment."""


def _tier(requests_a_minute: int, concurrent: int) -> Limits:
    """The burst is a whole minute's allowance: who may ask N times a minute may do so in its first second."""
    return Limits(requests_a_minute, requests_a_minute, concurrent)


TIERS: Final[Mapping[Tier, Limits]] = {
    # The rates are the guide's. In flight: what the rate amounts to when an answer takes six seconds, as a chat
    # answer of a few hundred words does; but never under ten, the guide's figure for a connection limit, so that a
    # person with a few windows open is not refused.
    "free": _tier(10, concurrent=10),
    "pro": _tier(1000, concurrent=100),
    "team": _tier(3000, concurrent=300),
    "enterprise": Limits(None, 0, None),
}


@lru_cache(maxsize=4096)
def limits_for(tier: Tier, rate_limit_override: int | None = None, max_connections: int | None = None) -> Limits:
    """The limits of one key: its tier's, unless the key or the operator says otherwise.

    `rate_limit_override` is requests a minute, from the key's row; what is below one counts as one, since a row that
    makes no sense must not open the door. `max_connections` is the operator's own limit for every account.
    """
    limits = TIERS[tier]
    rate, burst = limits.requests_a_minute, limits.burst
    if rate_limit_override is not None:
        rate = burst = max(1, rate_limit_override)
    return Limits(rate, burst, limits.concurrent if max_connections is None else max_connections)
