"""How much each tier may ask for. Data only: the scripts in the log server count, this file says up to where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Final

from events.completions import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one account may have. None means: no limit."""

    requests_a_minute: int | None
    """As many may come at once after a quiet minute."""
    requests_a_day: int | None
    """From midnight to midnight, UTC."""
    tokens_a_minute: int | None
    """Tokens in and out together."""
    concurrent: int | None
    """Requests in flight at one moment, and so connections that wait for one."""
    agents: int | None
    prompts: int | None
    conversations: int | None
    """Kept at one time."""
    conversation_days: int | None
    """How long a conversation is kept after its last message."""


Changes = tuple[tuple[str, int | None], ...]
"""(name of a limit, what it is instead), in the order of their names: values that can be compared and remembered."""

NAMES: Final = tuple(field.name for field in fields(Limits))

TIERS: Final[Mapping[Tier, Limits]] = {
    # Requests are the guide's. Tokens a minute: what those requests amount to at 4,000 tokens each, a long question with a
    # long answer. In flight: what the rate amounts to when an answer takes six seconds, as a chat answer of a few hundred
    # words does; but never under ten, the guide's figure for a connection limit, so that a person with a few windows open
    # is not refused.
    "free": Limits(
        requests_a_minute=10,
        requests_a_day=100,
        tokens_a_minute=40_000,
        concurrent=10,
        agents=3,
        prompts=20,
        conversations=100,
        conversation_days=30,
    ),
    "pro": Limits(
        requests_a_minute=1000,
        requests_a_day=10_000,
        tokens_a_minute=4_000_000,
        concurrent=100,
        agents=50,
        prompts=1000,
        conversations=10_000,
        conversation_days=365,
    ),
    "team": Limits(
        requests_a_minute=3000,
        requests_a_day=100_000,
        tokens_a_minute=12_000_000,
        concurrent=300,
        agents=500,
        prompts=10_000,
        conversations=100_000,
        conversation_days=730,
    ),
    "enterprise": Limits(
        requests_a_minute=None,
        requests_a_day=None,
        tokens_a_minute=None,
        concurrent=None,
        agents=None,
        prompts=None,
        conversations=None,
        conversation_days=None,
    ),
}


def changed(limits: Limits, changes: Changes) -> Limits:
    """The limits with some of them set otherwise. A number below one counts as one: what makes no sense must not open
    the door."""
    return replace(limits, **{name: most if most is None else max(1, most) for name, most in changes})


@lru_cache(maxsize=4096)
def limits_for(
    tier: Limits, changes: Changes = (), rate_limit_override: int | None = None, max_connections: int | None = None
) -> Limits:
    """The limits of one key: its tier's, unless the account's row, the operator's own limit for every account
    (`max_connections`) or the key's row says otherwise.

    A key to which the operator has given a rate of its own (`rate_limit_override`, requests a minute) is counted by that
    alone: neither the day's nor the tokens' limit of the tier holds it.
    """
    limits = tier if max_connections is None else replace(tier, concurrent=max_connections)
    limits = changed(limits, changes)
    if rate_limit_override is None:
        return limits
    return replace(limits, requests_a_minute=max(1, rate_limit_override), requests_a_day=None, tokens_a_minute=None)
