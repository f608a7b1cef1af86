"""What people have agreed to, and in which version. One rule: an agreement is added and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from app.database import Connection
from app.ids import new_id
from app.outbox import enqueue
from events.consent import ConsentGiven
from events.message import Envelope

Agreed = Literal["terms", "privacy", "dpa"]


@dataclass(frozen=True, slots=True)
class Consent:
    document: Agreed
    version: str
    given_at: datetime


async def give(connection: Connection, person: str, document: Agreed, version: str, *, by: str) -> None:
    """Write it down; again for the same version changes nothing."""
    async with connection.transaction():
        new = await connection.fetchval(
            """INSERT INTO consents (user_id, document, version) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING RETURNING true""",
            UUID(person),
            document,
            version,
        )
        if new:
            fact = ConsentGiven(document=document, document_version=version, by=by)
            envelope = Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=person, subject=person)
            await enqueue(connection, envelope)


async def given(connection: Connection, person: str) -> list[Consent]:
    """Oldest first."""
    rows = await connection.fetch(
        "SELECT document, version, given_at FROM consents WHERE user_id = $1 ORDER BY given_at, document", UUID(person)
    )
    return [Consent(row["document"], row["version"], row["given_at"]) for row in rows]
