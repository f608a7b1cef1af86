"""What the doors of people work with, put together once for a web process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.changes import Change
from app.database import Pool
from app.people.access import PostgresSessions, SignedInPeople
from app.people.issuers.issuer import Issuer
from app.people.letters import Letters
from app.people.password import Passwords
from app.people.tokens import AccessTokens
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class People:
    tokens: AccessTokens
    signed_in: SignedInPeople
    passwords: Passwords
    letters: Letters
    issuers: Mapping[str, Issuer]
    """Whose people may sign in, by name."""

    def forget(self, change: Change) -> None:
        """What the channel has said."""
        match change.kind:
            case "session":
                self.signed_in.forget_session(change.id)
            case "account":
                self.signed_in.forget_person(change.id)
            case "key":
                pass


def people_parts(settings: Settings, pool: Pool) -> People:
    """Raises `app.people.tokens.SecretRefused` and `app.people.issuers.named.IssuersRefused`."""
    tokens = AccessTokens(settings.jwt_secret_key.get_secret_value())
    signed_in = SignedInPeople(tokens, PostgresSessions(pool))
    return People(tokens, signed_in, Passwords(), Letters(settings.public_url), named_issuers(settings))


def named_issuers(settings: Settings) -> Mapping[str, Issuer]:
    """Raises `app.people.issuers.named.IssuersRefused`, a ValueError."""
    if settings.helix_sign_in is None and not settings.google_client_id and not settings.github_client_id:
        return {}
    from app.people.issuers.named import issuers  # imports authlib, for those who use it

    return issuers(settings)
