"""Puts a backup back onto an empty database and an empty log.

One rule: nothing that is there is ever overwritten. What came after is not replayed here: the projector does it, as
always, from the checkpoints of the dump and the events that were put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.backup import carried, files
from app.backup.save import KEY_COLUMNS, run_tool
from app.continuity import place
from app.database import CONNECT_S_MAX, Connection
from app.erasure.carrying_out import repeat_all
from app.erasure.receipt import verify
from app.key_ring import KeyRing
from app.log import Log, keys
from app.migrate import upgrade
from app.readers import extent


class NotEmpty(Exception):
    """There is something where the backup would go; the message says what."""


class WrongKey(Exception):
    """API_KEY_ENCRYPTION_KEY does not hold what wrapped the data keys."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    manifest: files.Manifest
    data_keys: int
    events: int
    commands: int
    """Requests that are carried on now: accepted before the backup, and not ended by then."""
    parked: int


async def load(
    database_url: str,
    log: Log,
    ring: KeyRing,
    directory: Path,
    other_keys: Path | None = None,
    erased: str = "",
) -> Restored:
    """`other_keys`: a file of data keys to be used instead of the backup's own. `erased`: receipts of erasures that came
    after the backup, one a line, which are carried out again before anybody can see the accounts.

    Raises NoBackup, NotEmpty, WrongKey, NoReceipt before anything is touched; then ToolFailed, LogGone, LogRefused.
    """
    for line in filter(None, erased.splitlines()):
        verify(line)
    manifest, position = files.checked(directory, other_keys=other_keys is not None)
    if manifest.partitions != log.partitions:
        raise files.NoBackup(f"it has {manifest.partitions} partitions: set HELIX_PARTITIONS to that")
    missing = [name for name in manifest.wrapped_by if not ring.holds(name)]
    if missing:
        raise WrongKey(f"API_KEY_ENCRYPTION_KEY lacks what wrapped the data keys: {', '.join(missing)}")
    connection = await asyncpg.connect(database_url, timeout=CONNECT_S_MAX)
    try:
        await _refuse_what_is_there(connection, log)
        words = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
        await run_tool("pg_restore", database_url, *words, str(directory / files.DATABASE))
        source = other_keys or directory / files.KEYS
        said = await connection.copy_to_table(
            "data_keys", source=source, columns=list(KEY_COLUMNS), format="csv", header=True
        )
        if erased:
            await upgrade(database_url)  # an older schema may have no place for a tombstone
            await repeat_all(connection, erased, ring)
    finally:
        await connection.close()
    counts = await _load_log(log, directory, position.stands)
    return Restored(manifest, int(said.split()[-1]), counts["event"], counts["command"], counts["parked"])


async def _refuse_what_is_there(connection: Connection, log: Log) -> None:
    tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
    if tables:
        raise NotEmpty(f"the database has {tables} tables: restore into an empty one")
    for partition in range(log.partitions):
        waiting = await log.command("XLEN", keys.commands(partition))
        if waiting or (await extent(log, partition)).added:
            raise NotEmpty(f"the log has entries in partition {partition}: restore into an empty one")


async def _load_log(log: Log, directory: Path, stands: Sequence[files.Stand]) -> dict[carried.Kind, int]:
    counts: dict[carried.Kind, int] = {"command": 0, "event": 0, "parked": 0, "request": 0}
    path = directory / files.LOG
    ended = carried.ended(path)
    await log.declare()
    for one in carried.lines(path):
        request = one.id if one.kind == "request" else one.subject()[1] if one.kind == "command" else ""
        if request and request in ended:
            continue
        await carried.put_back(log, one)
        counts[one.kind] += 1
    for stand in stands:
        await place(log, stand.partition, stand.last_id, added=stand.added, trimmed_to=stand.read_by_all)
    return counts
