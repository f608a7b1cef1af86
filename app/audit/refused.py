"""Rights that were refused, on their way to the audit log.

One rule: whoever is refused again and again costs us one fact a minute, not one each; and no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from app.database import Pool, Unavailable, borrowed
from app.identity import Identity
from app.ids import new_id
from app.outbox import enqueue
from events.audit import RightRefused
from events.message import Envelope

log = structlog.get_logger()

TOLD_EVERY_S: Final = 60.0
"""Long enough that a program in a loop is a row a minute, short enough to be read while it lasts."""

KINDS_MAX: Final = 1000
"""Of refusals that wait to be told: one account has at most 500 keys, and few actions."""


@dataclass(frozen=True, slots=True)
class _Kind:
    account: str
    by: str
    code: str
    action: str


class RefusedRights:
    """What one web process has refused since it last told of it."""

    def __init__(self) -> None:
        self._times: dict[_Kind, int] = {}
        self._untold = 0
        self._task: asyncio.Task[None] | None = None

    def note(self, identity: Identity, code: str, action: str) -> None:
        kind = _Kind(identity.account, identity.by, code, action)
        if kind in self._times or len(self._times) < KINDS_MAX:
            self._times[kind] = self._times.get(kind, 0) + 1
        else:
            self._untold += 1

    def start(self, pool: Pool) -> None:
        self._task = asyncio.create_task(self._tell_always(pool), name="tell refused rights")

    async def stop(self, pool: Pool) -> None:
        """Tells of what is left."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.tell(pool)

    async def _tell_always(self, pool: Pool) -> None:
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            await self.tell(pool)

    async def tell(self, pool: Pool) -> None:
        """A fact for each kind; all of them again where Postgres does not answer."""
        if not self._times:
            return
        times, self._times = self._times, {}
        try:
            async with borrowed(pool) as connection, connection.transaction():
                for kind, count in times.items():
                    fact = RightRefused(code=kind.code, action=kind.action, times=count, by=kind.by)
                    said = Envelope.begin(
                        fact, id=new_id(), at=datetime.now(UTC), account=kind.account, subject=kind.account
                    )
                    await enqueue(connection, said)
        except (Unavailable, asyncpg.PostgresError) as outage:
            for kind, count in times.items():
                self._times[kind] = self._times.get(kind, 0) + count
            log.warning("refused_rights_not_told", kinds=len(times), why=type(outage).__name__)
        if self._untold:
            log.warning("refused_rights_uncounted", times=self._untold)
            self._untold = 0
