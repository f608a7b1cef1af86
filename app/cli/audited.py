"""What a command of the operator tells the audit log, before it does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.over_log import refuse
from app.settings import settings

if TYPE_CHECKING:
    from events.audit import Command


async def told(command: Command, on: str | None = None) -> None:
    """Exits with 1 when it cannot be written down: then it is not done either."""
    from app.audit.operator import tell_of
    from app.database import Unavailable

    try:
        await tell_of(settings().database, command, on)
    except Unavailable as outage:
        refuse(f"the audit log cannot be told, so nothing is done: Postgres does not answer ({outage})", code=1)
