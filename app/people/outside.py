"""Who else vouches for a person: his accounts with other issuers. One rule: (issuer, subject) is the name, never an address."""

from __future__ import annotations

from uuid import UUID

from app.database import Connection


async def linked(connection: Connection, person: str) -> list[str]:
    """The names of those who vouch for him."""
    rows = await connection.fetch(
        "SELECT DISTINCT provider FROM outside_identities WHERE user_id = $1 ORDER BY provider", UUID(person)
    )
    return [row["provider"] for row in rows]
