"""What the doors of people work with, put together once for a web process."""

from __future__ import annotations

from dataclasses import dataclass

from app.changes import Change
from app.database import Pool
from app.people.access import PostgresSessions, SignedInPeople
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
    """Raises `app.people.tokens.SecretRefused`."""
    tokens = AccessTokens(settings.jwt_secret_key.get_secret_value())
    signed_in = SignedInPeople(tokens, PostgresSessions(pool))
    return People(tokens, signed_in, Passwords(), Letters(settings.public_url))
