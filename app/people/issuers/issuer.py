"""What an issuer is to us, whatever it speaks: a way there, and a word on who came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Literal, Protocol
from urllib.parse import urlsplit

Kind = Literal["oidc", "github"]
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})


class IssuerRefused(Exception):
    """What came back proves nothing. The message is for the log: it repeats no token and no code."""


class IssuerAway(Exception):
    """The issuer does not answer, or not in sense."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One issuer, as the operator has named it."""

    name: str
    kind: Kind
    issuer: str
    """Its address, as its tokens spell it; without a slash at the end for discovery."""
    client_id: str
    client_secret: str = field(repr=False)
    api: str = ""
    """GitHub's second address."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What this browser was sent away with, and must come back with."""

    state: str = field(default_factory=token_urlsafe, repr=False)
    nonce: str = field(default_factory=token_urlsafe, repr=False)
    verifier: str = field(default_factory=lambda: token_urlsafe(48), repr=False)
    """Of PKCE (RFC 7636): a code that is stolen on the way is of no use without it."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the issuer names."""

    issuer: str
    subject: str
    email: str | None = field(repr=False)
    """None where it names none that it has tried."""


class Issuer(Protocol):
    @property
    def name(self) -> str: ...

    async def way_there(self, asked: Asked, redirect_uri: str) -> str:
        """Where the browser goes. Raises IssuerAway."""
        ...

    async def who_came(self, asked: Asked, redirect_uri: str, query: Mapping[str, str]) -> Vouched:
        """Who is behind the code in the query; its state was compared before. Raises IssuerRefused, IssuerAway."""
        ...


def trusted_url(url: object) -> str:
    """An address that secrets may be sent to: over TLS, or on this machine. Raises IssuerAway."""
    at = urlsplit(url) if isinstance(url, str) else None
    if at is None or not at.hostname or not (at.scheme == "https" or (at.scheme == "http" and at.hostname in _HERE)):
        raise IssuerAway("an address without TLS")
    return str(url)
