"""Keeps the log short: what the archive holds and everybody has read leaves it. Runs in every projector.

One rule: when in doubt, nothing goes. An entry may go when it lies at or below each of these, and not before: the end
of the archive, the checkpoint of every projection, the oldest entry that any consumer group has not acknowledged, and
the age at which requests are read from Postgres.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import telemetry
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.log.log import LIVE_S
from app.log.memory import UNKNOWN, shares_used
from app.log.trim import GroupMissing, LogBehind, trim
from projections import PROJECTIONS, archive
from projections.projection import BEGINNING, order

log = structlog.get_logger()

EVERY_S: Final = 30.0
"""A partition at 1000 events a second gains 30,000 entries meanwhile, some tens of megabytes."""

CROWDED: Final = 0.5
"""Share of the log's memory above which age does not count any more: everything it protects is read from Postgres as
well, only slower. Below the share at which new work is refused (`app.shedding`)."""

ACTING_GROUPS: Final[tuple[str, ...]] = ()
"""Consumer groups that act on events and must be there. Their names belong here with the first of them; a group that is
there without being named is respected too."""

_TURN: Final = 0x68656C69_7472696D  # "helitrim"


@dataclass(frozen=True, slots=True)
class Cut:
    """What was done to a partition. `refused`: why nothing may be; None when all is well."""

    partition: int
    upto: str
    entries: int
    refused: str | None = None
    away: bool = False
    """Its server could not be reached; the others' partitions are trimmed meanwhile."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """It cannot be known what may go."""

    why: str


async def keep_short(stream: Log, database: AsyncEngine) -> None:
    """Trim every partition again and again, until cancelled. Any number of processes may; one does."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await trim_all(stream, database)
        except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, LogRefused) as outage:
            log.warning("trimming_interrupted", error=type(outage).__name__)


async def trim_all(stream: Log, database: AsyncEngine, groups: Sequence[str] = ACTING_GROUPS) -> list[Cut]:
    """Trim every partition once → what was done; nothing while another process trims or a backup is made."""
    shares = await shares_used(stream)
    telemetry.LOG_MEMORY.set(max(shares.values(), default=UNKNOWN))
    async with database.connect() as connection:
        if not await _take_turn(connection):
            return []
        found = [await _read_by_all(connection, partition) for partition in range(stream.partitions)]
        await _flush(connection)
        cuts = [
            await _trim_if_there(stream, partition, upto, shares.get(stream.nodes.url_of(partition), UNKNOWN), groups)
            for partition, upto in enumerate(found)
        ]
    for cut in cuts:
        if cut.refused:
            telemetry.ALARMS.labels("trim_refused").inc()
            log.error("trim_refused", partition=cut.partition, reason=cut.refused)
        elif cut.entries:
            log.info("log_trimmed", partition=cut.partition, entries=cut.entries, upto=cut.upto)
    if away := [cut.partition for cut in cuts if cut.away]:
        log.warning("partitions_not_trimmed", partitions=away, reason="their server is away")
    return cuts


async def hold_off(connection: AsyncConnection) -> None:
    """Keep everybody from trimming for as long as the connection lives; waits for who is at it."""
    await connection.execute(text("SELECT pg_advisory_lock(:turn)"), {"turn": _TURN})


async def _take_turn(connection: AsyncConnection) -> bool:
    found = await connection.execute(text("SELECT pg_try_advisory_lock(:turn)"), {"turn": _TURN})
    return bool(found.scalar_one())


async def _trim_if_there(stream: Log, partition: int, upto: str | Unsure, share: float, groups: Sequence[str]) -> Cut:
    try:
        return await _trim(stream, partition, upto, share, groups)
    except LogGone:
        return Cut(partition, BEGINNING, 0, away=True)


async def _trim(stream: Log, partition: int, upto: str | Unsure, share: float, groups: Sequence[str]) -> Cut:
    if isinstance(upto, Unsure):
        return Cut(partition, BEGINNING, 0, upto.why)
    if share < CROWDED:
        upto = min(upto, await _old_enough(stream, partition), key=order)
    if upto == BEGINNING:
        return Cut(partition, upto, 0)
    entries = 0
    while True:
        match await trim(stream, partition, upto, groups):
            case GroupMissing(group):
                return Cut(partition, upto, entries, f"the group {group} is missing")
            case LogBehind(last_id):
                return Cut(partition, upto, entries, f"the log ends at {last_id}, its readers stand at {upto}")
            case 0:
                return Cut(partition, upto, entries)
            case gone:
                entries += gone


async def _read_by_all(connection: AsyncConnection, partition: int) -> str | Unsure:
    """The newest entry that archive and projections have all passed."""
    found = await connection.execute(
        text("SELECT projection, entry_id FROM checkpoints WHERE partition = :partition"), {"partition": partition}
    )
    stands: dict[str, str] = {row.projection: row.entry_id for row in found}
    missing = [projection.name for projection in PROJECTIONS if projection.name not in stands]
    if missing:
        return Unsure(f"no checkpoint of {', '.join(missing)}")
    return min([*stands.values(), await archive.last_id(connection, partition)], key=order)


async def _flush(connection: AsyncConnection) -> None:
    """Return when all that is visible now is on disk: checkpoints of read models are committed without waiting for it,
    and one that a crash of Postgres takes back must find its entries in the log. A commit that does wait takes those
    before it along, if it has anything to write."""
    await connection.execute(text("SET LOCAL synchronous_commit = on"))
    await connection.execute(text("SELECT pg_logical_emit_message(true, 'helix', 'flush')"))
    await connection.commit()


async def _old_enough(stream: Log, partition: int) -> str:
    """The newest entry that lies an hour behind both the newest one and the server's clock: whichever way that clock has
    jumped, no more goes than the readers' positions allow."""
    newest_ms = order(await stream.last_event_id(partition))[0]
    seconds, _ = await stream.nodes.at(partition)("TIME")
    oldest_kept_ms = min(newest_ms, int(seconds) * 1000) - LIVE_S * 1000
    return f"{max(oldest_kept_ms, 0)}-0"
