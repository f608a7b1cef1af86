"""The projector's task that carries out erasures when it is time, and again where a restored table has forgotten them.

One rule: it may be killed anywhere and run anywhere else meanwhile; what is done is found done.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from app.answers import AnswerCache
from app.database import CONNECT_S_MAX, Connection
from app.erasure.carrying_out import destroy, erase
from app.erasure.clearing import NotYet, clear, tell_all
from app.key_ring import KeyRing
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.mail import Mails
from app.postgres import NOTICED
from app.settings import Settings

log = structlog.get_logger()

EVERY_S: Final = 10.0
"""Between two looks: an operator who erases at once waits for no longer than this for the log server to be cleared."""

AGAIN_S: Final = 30.0
"""Pause after an outage."""

BATCH: Final = 100

_DUE: Final = "SELECT account FROM erasures WHERE erased_at IS NULL AND erase_at <= now() ORDER BY erase_at LIMIT $1"
_UNCLEARED: Final = (
    "SELECT account FROM erasures WHERE erased_at IS NOT NULL AND cleared_at IS NULL ORDER BY erased_at LIMIT $1"
)
_BACK: Final = """SELECT account FROM erased_accounts AS gone WHERE
EXISTS (SELECT FROM users WHERE id = gone.account)
OR EXISTS (SELECT FROM data_keys WHERE data_keys.account = gone.account AND wrapped IS NOT NULL) LIMIT $1"""
"""Whom the log tells of as erased, and who is there all the same: an older database was put back beside a newer log."""


async def keep(chosen: Settings, over: Log, ring: KeyRing, mails: Mails | None) -> None:
    """Until cancelled."""
    answers = await AnswerCache(chosen.answers, name=f"{chosen.helix_process_name}-erasure").open()
    try:
        while True:
            try:
                await _look(chosen, over, answers, ring, mails)
                await asyncio.sleep(EVERY_S)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, LogGone, LogRefused) as outage:
                log.warning("erasures_interrupted", error=type(outage).__name__, again_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)
    finally:
        await answers.close()


async def _look(chosen: Settings, over: Log, answers: AnswerCache, ring: KeyRing, mails: Mails | None) -> None:
    connection = await asyncpg.connect(
        chosen.database, timeout=CONNECT_S_MAX, server_settings={"application_name": "helix erasures", **NOTICED}
    )
    try:
        for account in await _accounts(connection, _DUE):
            await tell_all(chosen.cache, account)  # whoever remembers its key stops sealing under it
            await erase(connection, account, ring, mails)
        for account in await _accounts(connection, _BACK):
            async with connection.transaction():
                _, deleted = await destroy(connection, account, ring)
            log.warning("erased_account_was_back", account=account, rows=sum(one.rows for one in deleted))
            await tell_all(chosen.cache, account)
        for account in await _accounts(connection, _UNCLEARED):
            await tell_all(chosen.cache, account)
            try:
                await clear(over, answers, account)
            except NotYet as later:
                log.warning("account_not_cleared", account=account, why=str(later))
                continue
            await connection.execute("UPDATE erasures SET cleared_at = now() WHERE account = $1", UUID(account))
    finally:
        connection.terminate()


async def _accounts(connection: Connection, query: str) -> list[str]:
    return [str(row["account"]) for row in await connection.fetch(query, BATCH)]
