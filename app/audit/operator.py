"""What the operator does by hand, told to the audit log. One rule: it is told before it is done."""

from __future__ import annotations

from datetime import UTC, datetime

from app.database import Connection, connected
from app.identity import OPERATOR
from app.ids import new_id
from app.outbox import enqueue
from events.audit import NOBODY, Command, OperatorActed
from events.message import Envelope


async def tell(connection: Connection, command: Command, on: str | None = None) -> None:
    """Say that this command is run on this thing, once the connection's transaction commits."""
    fact = OperatorActed(command=command, on=on, by=OPERATOR)
    await enqueue(
        connection, Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=NOBODY, subject=on or command)
    )


async def tell_of(database_url: str, command: Command, on: str | None = None) -> None:
    """The same over a connection of its own. Raises `app.database.Unavailable`: what cannot be told is not to be done."""
    async with connected(database_url) as connection:
        await tell(connection, command, on)
