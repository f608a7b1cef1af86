"""Mails that wait in Postgres until a projector has sent them.

One rule: a mail is put in by the transaction that is its reason, and leaves the table only after a post has taken it or it is
too old to be of use. A crash between the two sends it twice, under one Message-ID. Address and words lie sealed.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from app.database import CONNECT_S_MAX, Connection
from app.ids import new_id
from app.key_ring import KeyRing, RingRefused
from app.mail.mail import Mail, NeverSent, NotSent, Post
from app.postgres import NOTICED

log = structlog.get_logger()

CHANNEL: Final = "helix_mails"
GOOD_FOR: Final = timedelta(days=2)
"""What is longer on its way surprises more than it tells."""
BATCH: Final = 20
"""Sent at the same time: few enough for any server's patience."""
TRY_S_MAX: Final = 120.0
"""Longer than any post takes: another projector tries again what this one was killed with."""
PAUSE_S: Final = 10.0
PAUSE_S_MAX: Final = 3600.0
POLL_S: Final = 5.0
AGAIN_S: Final = 1.0
_PURPOSE: Final = "mail"

_TAKE: Final = """UPDATE mails SET tries = tries + 1, next_try_at = now() + make_interval(secs => $2)
WHERE id IN (SELECT id FROM mails WHERE next_try_at <= now() ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING id, sealed, sealed_by, tries, good_until <= now() AS stale"""


@dataclass(frozen=True, slots=True)
class Mails:
    """Where mails are put in."""

    ring: KeyRing
    have_post: bool
    """False: nothing put in would ever leave."""

    async def put(self, connection: Connection, mail: Mail, good_for: timedelta = GOOD_FOR) -> None:
        """Send it once the connection's transaction commits; not at all when it does not."""
        words = json.dumps([mail.to, mail.subject, mail.text]).encode()
        await _put(connection, mail.id, self.ring.seal(_bound(mail.id), words), self.ring.current, good_for)

    async def put_nothing(self, connection: Connection) -> None:
        """The same work for the servers, and no mail: so that nobody learns from the time whether there was one to send."""
        await _put(connection, new_id(), None, self.ring.current, GOOD_FOR)


async def _put(connection: Connection, id: str, sealed: bytes | None, by: str, good_for: timedelta) -> None:
    await connection.execute(
        "WITH kept AS (INSERT INTO mails (id, sealed, sealed_by, good_until) VALUES ($1, $2, $3, now() + $4) RETURNING id)"
        " SELECT pg_notify($5, '') FROM kept",
        UUID(id),
        sealed,
        by,
        good_for,
        CHANNEL,
    )


async def send_always(database_url: str, ring: KeyRing, post: Post) -> None:
    """Send mails as they are put in, until cancelled. Any number of processes may do so at once."""
    while True:
        try:
            await _send_while_connected(database_url, ring, post)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as outage:
            log.warning("mails_interrupted", error=type(outage).__name__, again_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)


async def _send_while_connected(database_url: str, ring: KeyRing, post: Post) -> None:
    more = asyncio.Event()
    connection = await asyncpg.connect(
        database_url, timeout=CONNECT_S_MAX, server_settings={"application_name": "helix mails", **NOTICED}
    )
    try:
        await connection.add_listener(CHANNEL, lambda *_: more.set())
        while True:
            more.clear()
            while await send(connection, ring, post) == BATCH:
                pass
            try:
                async with asyncio.timeout(POLL_S):
                    await more.wait()
            except TimeoutError:
                if connection.is_closed():
                    raise ConnectionResetError("Postgres closed the connection") from None
    finally:
        connection.terminate()


async def send(connection: Connection, ring: KeyRing, post: Post) -> int:
    """Try the mails that are due → how many were taken up."""
    rows = await connection.fetch(_TAKE, BATCH, TRY_S_MAX)
    ends = await asyncio.gather(*(_try(row, ring, post) for row in rows))
    over = [row["id"] for row, pause_s in zip(rows, ends, strict=True) if pause_s is None]
    await connection.execute("DELETE FROM mails WHERE id = ANY($1::uuid[])", over)
    for row, pause_s in zip(rows, ends, strict=True):
        if pause_s is not None:
            await connection.execute(
                "UPDATE mails SET next_try_at = now() + make_interval(secs => $2) WHERE id = $1", row["id"], pause_s
            )
    return len(rows)


async def _try(row: asyncpg.Record, ring: KeyRing, post: Post) -> float | None:
    """Seconds until the next try; None: there is none."""
    id, tries = str(row["id"]), row["tries"]
    if row["sealed"] is None:
        return None
    if row["stale"]:
        log.error("mail_given_up", mail=id, tries=tries - 1, why="too old")
        return None
    try:
        to, subject, text = json.loads(ring.open(_bound(id), row["sealed"], row["sealed_by"]))
        await post.send(Mail(to, subject, text, id))
    except (NeverSent, RingRefused) as never:
        log.error("mail_given_up", mail=id, tries=tries, why=str(never))
        return None
    except NotSent as later:
        pause_s: float = min(PAUSE_S_MAX, PAUSE_S * 3.0 ** min(tries - 1, 10))
        log.warning("mail_not_sent", mail=id, tries=tries, why=str(later), again_s=pause_s)
        return pause_s
    log.info("mail_sent", mail=id, tries=tries)
    return None


def _bound(id: str) -> str:
    return f"{_PURPOSE} {id}"
