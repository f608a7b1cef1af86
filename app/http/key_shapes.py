"""What is sent to `/v1/api-keys` and what it answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from app.http.client_address import Network, network
from app.http.headers import is_origin
from handlers.rules.roles import Role

SCOPES_MAX: Final = 20
MODELS_MAX: Final = 50
"""They are remembered with the key: a few kilobytes."""
NETWORKS_MAX: Final = 50
ORIGINS_MAX: Final = 20
"""Whoever has more hosts than that has a server that holds the key."""
ORIGIN_CHARACTERS_MAX: Final = 267
"""Scheme, the longest name of a host, a port."""
NAME_CHARACTERS_MAX: Final = 255
GRACE_S_MAX: Final = 30 * 24 * 3600
"""A month: whoever needs longer has two keys."""
GRACE_S: Final = 24 * 3600


def printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("printable characters only")
    return text


def _network(text: object) -> Network:
    if not isinstance(text, str):
        raise ValueError("a network is written as text, such as 192.0.2.0/24")  # pydantic's own way
    try:
        return network(text)
    except ValueError:
        raise ValueError("this is no network such as 192.0.2.0/24 or 2001:db8::/32") from None


def _origin(text: str) -> str:
    if not is_origin(text):
        raise ValueError("an origin is a scheme, a host in small letters and a port, such as https://app.example")
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX), AfterValidator(printable)]
Scopes = Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(min_length=1, max_length=SCOPES_MAX)]
Models = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1, max_length=MODELS_MAX)
]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network, json_schema_input_type=str)], ...],
    Field(min_length=1, max_length=NETWORKS_MAX),
]

Origins = Annotated[
    tuple[Annotated[str, Field(max_length=ORIGIN_CHARACTERS_MAX), AfterValidator(_origin)], ...],
    Field(min_length=1, max_length=ORIGINS_MAX),
]


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time that is in the calendar") from None


Time = Annotated[AwareDatetime, AfterValidator(_utc)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


RateLimit = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]

GivenRole = Literal["admin", "developer", "billing", "viewer"]
"""Roles that are given. Ownership is transferred."""


class KeyCreate(_Body):
    """What is left out is as it is with the key that makes it, `scopes` excepted."""

    name: Name | None = None
    scopes: Scopes | None = None
    """Left out: those of chat, agents and prompts that the making key has."""
    models: Models | None = None
    """Names of models it may ask for; null: all."""
    allowed_ips: Networks | None = None
    """Addresses and networks it may be used from; null: everywhere."""
    allowed_origins: Origins | None = None
    """Whose pages in browsers may use it, such as `https://app.example`; null: those that the operator names for all keys.
    Whoever opens such a page can read the key: give it few scopes, few models and a rate limit."""
    expires_at: Time | None = None
    """With a zone; null: never."""
    rate_limit: RateLimit | None = None
    """Requests a minute, beside the account's own limit; null: no limit of its own. Left out, and not to be named, where
    the key that asks has such a limit or a budget: the new one shares it."""
    owner: Literal["person", "team"] | None = None
    """Whose it is. A person's key in a team acts in his role there and ends when he leaves; the team's own stays. Left out:
    the person's who asks."""
    role: GivenRole | None = None
    """What a team's own key is in the team; left out: developer. Never more than the role of who makes it."""


class KeyChange(_Body):
    """What is left out stays."""

    name: Name | None = None
    scopes: Scopes = ()
    """At least one; null is none."""
    models: Models | None = None
    """Null: all."""
    allowed_ips: Networks | None = None
    """Null: everywhere."""
    allowed_origins: Origins | None = None
    """Null: those that the operator names for all keys."""
    expires_at: Time | None = None
    """Null: never."""
    rate_limit: RateLimit | None = None
    """Requests a minute, beside the account's own limit; null: no limit of its own."""


class KeyRotate(_Body):
    """How long the old key goes on."""

    grace_s: Annotated[int, Field(strict=True, ge=0, le=GRACE_S_MAX)] = GRACE_S
    """Seconds; 0: it ends at once."""


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class KeyView(_View):
    """A key as lists show it."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str | None
    prefix: str
    scopes: list[str]
    models: list[str] | None
    """Null: all."""
    allowed_ips: list[str] | None
    """Null: everywhere."""
    allowed_origins: list[str] | None
    """Null: those that the operator names for all keys."""
    rate_limit: int | None
    """Requests a minute, where it has a limit of its own; null: the account's alone."""
    status: Literal["active", "expired", "revoked"]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    """To the minute."""
    revoked_at: str | None
    replaced_by: str | None
    """The key it was rotated to."""
    owner: Literal["person", "team"]
    person: str | None
    """Whose it is; null: the team's own."""
    role: Role | None
    """What a team's own key is in the team."""


class NewKeyView(KeyView):
    key: str
    """The key itself: shown this once."""


class KeyList(_View):
    object: Literal["list"] = "list"
    data: list[KeyView]
    has_more: bool
    first_id: str | None
    last_id: str | None
