"""Telling what a person did. One rule: within the transaction that makes it true."""

from __future__ import annotations

from datetime import UTC, datetime

from app.database import Connection
from app.ids import new_id
from app.outbox import enqueue
from events.message import Change, Envelope


def by(person: str) -> str:
    """As facts say who did something (`events.message.By`)."""
    return f"person:{person}"


async def say(connection: Connection, person: str, fact: Change, subject: str | None = None) -> None:
    """The fact, in the person's own account; `subject` where it is about something else than the person."""
    envelope = Envelope.begin(
        fact, id=new_id(), at=datetime.now(UTC), account=person, subject=person if subject is None else subject
    )
    await enqueue(connection, envelope)
