"""The projector's task that makes exports, one at a time, and throws away what is over.

One rule: an export belongs to the try that holds its lease. Who is killed in the middle is followed by another try, which
begins anew under its own number.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from app.database import CONNECT_S_MAX, Connection, Unavailable, open_pool
from app.export.making import LEASE_S, Making, Overtaken
from app.key_ring import KeyRing
from app.mail import Mail, Mails
from app.postgres import NOTICED
from app.vault import Erased, Vault

log = structlog.get_logger()

EVERY_S: Final = 2.0
AGAIN_S: Final = 30.0
"""Pause after an outage."""

TRIES_MAX: Final = 3
"""What three processes could not make will not be made by a fourth; a person should look."""

_CLAIM: Final = """UPDATE exports SET status = CASE WHEN tries < $1 THEN 'running' ELSE 'failed' END, tries = tries + 1,
lease_until = now() + make_interval(secs => $2)
WHERE id = (SELECT id FROM exports WHERE status IN ('queued', 'running') AND (lease_until IS NULL OR lease_until < now())
            ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, account, tries, status"""


async def keep(database_url: str, ring: KeyRing, mails: Mails | None) -> None:
    """Until cancelled. `mails`: tell people that theirs is ready."""
    pool = await open_pool(database_url, name="helix exports", connections_max=1)
    vault = Vault(pool, ring)
    try:
        while True:
            try:
                while await make_one(database_url, vault, mails):
                    pass
                await asyncio.sleep(EVERY_S)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, Unavailable) as outage:
                log.warning("exports_interrupted", error=type(outage).__name__, again_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)
    finally:
        pool.terminate()


async def make_one(database_url: str, vault: Vault, mails: Mails | None = None) -> bool:
    """Make the export that has waited longest → whether there was one; and throw away those that are over."""
    writing, reading = await _connect(database_url), await _connect(database_url)
    try:
        await writing.execute("DELETE FROM exports WHERE expires_at < now()")
        claimed = await writing.fetchrow(_CLAIM, TRIES_MAX, LEASE_S)
        if claimed is None:
            return False
        id, account = str(claimed["id"]), str(claimed["account"])
        if claimed["status"] == "failed":
            log.error("export_given_up", export=id, account=account, tries=TRIES_MAX)
            return True
        vault.forget(account)  # the account may have been erased a moment ago
        try:
            box = await vault.box(account)
            async with reading.transaction(isolation="repeatable_read", readonly=True):
                await Making(reading, writing, box, account, id, claimed["tries"]).run()
        except (Overtaken, Erased) as over:
            log.warning("export_abandoned", export=id, account=account, why=type(over).__name__)
            return True
        await writing.execute(
            "DELETE FROM export_pieces WHERE export_id = $1 AND try <> $2", UUID(id), claimed["tries"]
        )
        if mails is not None:
            await _tell(writing, mails, account)
        log.info("export_made", export=id, account=account, tries=claimed["tries"])
        return True
    finally:
        writing.terminate()
        reading.terminate()


async def _tell(connection: Connection, mails: Mails, account: str) -> None:
    address = await connection.fetchval("SELECT email FROM users WHERE id = $1 AND status = 'active'", UUID(account))
    if address is not None:
        text = "The export of your data is ready. Fetch it within seven days where you have asked for it.\n"
        await mails.put(connection, Mail(address, "Your data is ready", text))


async def _connect(database_url: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(
        database_url, timeout=CONNECT_S_MAX, server_settings={"application_name": "helix exports", **NOTICED}
    )
