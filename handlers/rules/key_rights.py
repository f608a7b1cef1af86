"""What a key may do, as a value, and whether one key may make another.

One rule: a key never holds a right that its maker lacks. Whatever can be written of a key is compared here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

Network = IPv4Network | IPv6Network
Field = Literal["scopes", "models", "allowed_ips", "allowed_origins", "expires_at"]

EVERY_SCOPE: Final = "admin"
"""The operator's: it stands for all others."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a key may do. None stands for no bound."""

    scopes: frozenset[str]
    models: frozenset[str] | None = None
    """Names of models, as a client asks for them."""
    allowed_ips: tuple[Network, ...] | None = None
    """From where it may be used."""
    expires_at: datetime | None = None
    allowed_origins: tuple[str, ...] | None = None
    """Whose pages may use it; whatever is no page in a browser is not bound by this."""


def excess(maker: Rights, wanted: Rights) -> Field | None:
    """The first right that is wanted and the maker lacks; None when he has them all."""
    if not wanted.scopes <= maker.scopes and EVERY_SCOPE not in maker.scopes:
        return "scopes"
    if maker.models is not None and (wanted.models is None or not wanted.models <= maker.models):
        return "models"
    if maker.allowed_ips is not None and not _all_inside(wanted.allowed_ips, maker.allowed_ips):
        return "allowed_ips"
    if maker.allowed_origins is not None and not set(wanted.allowed_origins or ("",)) <= set(maker.allowed_origins):
        return "allowed_origins"
    if maker.expires_at is not None and (wanted.expires_at is None or wanted.expires_at > maker.expires_at):
        return "expires_at"
    return None


def _all_inside(wanted: tuple[Network, ...] | None, allowed: tuple[Network, ...]) -> bool:
    return wanted is not None and all(any(_inside(each, one) for one in allowed) for each in wanted)


def _inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
