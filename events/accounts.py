"""Facts about users and keys, published from Postgres through the outbox. No address, name or secret is ever in them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime

from events.completions import Optimize, Tier
from events.message import Change


class UserCreated(Change):
    type: ClassVar[str] = "user.created"

    tier: Tier


class KeyCreated(Change):
    type: ClassVar[str] = "key.created"

    api_key_id: str
    prefix: str
    scopes: tuple[str, ...]
    person: str | None = None
    """Whose it is, where somebody wrote it down; a team's own is nobody's."""
    role: str | None = None
    """What a team's own key is in the team."""


class KeyRevoked(Change):
    """From now on this key opens nothing; every process forgets it."""

    type: ClassVar[str] = "key.revoked"

    api_key_id: str
    key_hash: str
    """SHA-256 of the key: what the processes remember it by."""


class KeyChanged(Change):
    """What this key may do is something else from now on, all of it named here; every process forgets what it was."""

    type: ClassVar[str] = "key.changed"

    api_key_id: str
    key_hash: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    """None: every model."""
    allowed_ips: int | None
    """How many networks; addresses are not repeated. None: from everywhere."""
    expires_at: AwareDatetime | None
    replaced_by: str | None
    """The key that it was rotated to."""
    rate_limit: int | None = None
    """Requests a minute that its owner lets it make; None: no limit of its own."""
    allowed_origins: tuple[str, ...] | None = None
    """Whose pages in browsers may use it; None: those that the operator names for all keys."""


class RoutingChanged(Change):
    """What the account wants of the router is something else from now on; every process forgets what it was."""

    type: ClassVar[str] = "routing.changed"

    aliases: int
    """How many; what they are called is the account's own business."""
    fallbacks: int
    only: tuple[str, ...]
    never: tuple[str, ...]
    optimize: Optimize | None
    cache_ttl_s: int | None
