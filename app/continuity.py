"""Is the log that is there the one that has been read? And how to go on behind the archive when it is lost for good.

One rule: nobody guesses. A log that has gone back (flushed, evicted, an older copy) stops the projector until a person
has put the right one back, or has said that what is missing is lost (`helix reseed`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.log import Log, LogGone
from app.log.keys import events
from app.readers import extent
from projections import archive
from projections.projection import BEGINNING, order

_SCRATCH: Final = "helix-scratch"
"""A stream can only be made by an entry or a group; this group is gone again at once."""


@dataclass(frozen=True, slots=True)
class WentBack:
    """A partition whose log lacks what has been read from it."""

    partition: int
    reader: str
    """The projection that stands furthest ahead."""
    stands: str
    last_id: str
    """The newest entry that the log knows of."""
    archived: int
    """Entries in the archive."""
    added: int
    """Entries that the log says it was ever given; fewer than are archived when it was emptied and begun anew."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found of the partitions that could be looked at."""

    back: tuple[WentBack, ...]
    away: tuple[int, ...]
    """Partitions whose server could not be reached: nothing is known of them."""


@dataclass(frozen=True, slots=True)
class Reseeded:
    """Where a partition's log goes on."""

    partition: int
    behind: str
    archive_ends: str
    """Rows of read models that lie between this and where their projection stands cannot be made anew."""
    kept: int
    """Entries on the log that nobody had archived; they are read as usual."""


async def compare(stream: Log, connection: AsyncConnection) -> Compared:
    """Hold the log against what has been read from it. Raises LogGone when no partition can be reached."""
    found, away = [], []
    for partition in range(stream.partitions):
        reader, stands = await _furthest(connection, partition)
        archived, _ = await _archived(connection, partition)
        try:
            now = await extent(stream, partition)
        except LogGone:
            away.append(partition)
            if len(away) == stream.partitions:
                raise
            continue
        if order(stands) > order(now.last_id) or archived > now.added:
            found.append(WentBack(partition, reader, stands, now.last_id, archived, now.added))
    return Compared(tuple(found), tuple(away))


async def reseed(stream: Log, connection: AsyncConnection) -> list[Reseeded]:
    """Make the log go on behind all that has been read, whatever it has lost. Changes nothing where all is well, nor
    where a partition cannot be reached."""
    done = []
    for fault in (await compare(stream, connection)).back:
        archived, archive_ends = await _archived(connection, fault.partition)
        kept = 0
        after = archive_ends
        while page := await stream.read_events(fault.partition, after, count=1000):
            after, kept = page[-1][0], kept + len(page)
        behind = max(fault.stands, fault.last_id, key=order)
        await place(stream, fault.partition, behind, added=archived + kept, trimmed_to=archive_ends)
        done.append(Reseeded(fault.partition, behind, archive_ends, kept))
    return done


async def place(stream: Log, partition: int, last_id: str, *, added: int, trimmed_to: str) -> None:
    """Tell the stream of events where it stands; it is made when it is missing."""
    key = events(partition)
    if not await stream.command("EXISTS", key):
        await stream.command("XGROUP", "CREATE", key, _SCRATCH, "0", "MKSTREAM")
        await stream.command("XGROUP", "DESTROY", key, _SCRATCH)
    if last_id != BEGINNING:
        await stream.command("XSETID", key, last_id, "ENTRIESADDED", added, "MAXDELETEDID", trimmed_to)


async def _furthest(connection: AsyncConnection, partition: int) -> tuple[str, str]:
    """(projection, entry id) of the checkpoint that is furthest ahead."""
    found = await connection.execute(
        text("SELECT projection, entry_id FROM checkpoints WHERE partition = :partition"), {"partition": partition}
    )
    rows = [(str(row.projection), str(row.entry_id)) for row in found]
    return max(rows, key=lambda row: order(row[1]), default=("none", BEGINNING))


async def _archived(connection: AsyncConnection, partition: int) -> tuple[int, str]:
    """(entries in the archive, the last of them)."""
    found = await connection.execute(
        text("SELECT coalesce(sum(events), 0) FROM archive WHERE partition = :partition"), {"partition": partition}
    )
    return int(found.scalar_one()), await archive.last_id(connection, partition)
