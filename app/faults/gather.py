"""Read what a Helix has written down, after the drain. One rule: it only reads, and reads what an outsider may see."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg

from app.bench.targets import without_servers
from app.faults import balances
from app.faults.evidence import Audited, Changed, Evidence, Letter, Live, Rebuilt, Row, Terminal
from app.log import Log, LogGone, keys
from app.log.connection import LogRefused
from app.log.parked import letters
from app.postgres import engine
from app.up.directory import ROOT, Facts
from events.catalog import read
from events.completions import CompletionEnded
from projections import PROJECTIONS
from projections.audit import WANTS, verify

DRAIN_S: Final = 120.0
"""How long what was accepted may take to end, and to be remembered, once nobody asks or breaks anything."""

PAGE: Final = 1000
NANO: Final = 10**9
REBUILT: Final = tuple(one.name for one in PROJECTIONS if one.wants is not None)
_LOOK_S: Final = 0.1


async def gather(
    facts: Facts, data: Path, asked: Mapping[str, int], *, partitions: int = 1, rebuild: bool = True
) -> Evidence:
    """Wait for the drain, then read everything. A control run need not `rebuild`: it fails elsewhere."""
    log = await _opened(facts["redis_url"], partitions)
    database: Any = await asyncpg.connect(facts["database_url"])
    try:
        drained = await _drained(log, database)
        commands, pending, places = await _left(log)
        terminals = await _terminals(log)
        live = [await _live(log, end) for end in terminals]
        return Evidence(
            drained=drained,
            commands_left=commands,
            pending_left=pending,
            open_left=places,
            holds_left=await balances.holds(log),
            purses=await balances.left(log, database),
            terminals=tuple(terminals),
            usage=await _rows(database, "SELECT event_id, request_id, user_id, cost_usd FROM usage"),
            requests=await _rows(database, "SELECT event_id, id AS request_id, user_id, cost_usd FROM requests"),
            live=tuple(live),
            parked=tuple(Letter(request=one.request, why=one.why) for one in await letters(log)),
            rebuilt=tuple(await asyncio.gather(*(_rebuild(name, data, partitions) for name in REBUILT if rebuild))),
            changed=await _changed(database),
            told=await _told(log),
            audit=await _audit(database),
            chain=await _chain(facts["database_url"], partitions),
            asked=dict(asked),
        )
    finally:
        await database.close()
        await log.close()


async def _opened(url: str, partitions: int) -> Log:
    until = time.monotonic() + DRAIN_S
    while True:
        try:
            return await Log(url, name="faults", partitions=partitions).open()
        except LogGone:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(_LOOK_S)


async def _drained(log: Log, database: Any) -> bool:
    """Whether nothing is left to do, and the projections have read to the end, before the time is over."""
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        try:
            commands, pending, _ = await _left(log)
            if not commands and not pending and await _caught_up(log, database):
                return True
        except LogGone:
            pass  # it is just coming back
        await asyncio.sleep(_LOOK_S)
    return False


async def _left(log: Log) -> tuple[int, int, int]:
    """Commands, those of them in somebody's hands, places held by accounts."""
    commands = pending = places = 0
    for partition in range(log.partitions):
        commands += await log.command("XLEN", keys.commands(partition))
        # A control run may have lost the group itself.
        with contextlib.suppress(LogRefused):
            pending += (await log.command("XPENDING", keys.commands(partition), keys.COMPLETIONS))[0]
        for one in await _keys(log, partition):
            places += await log.command("ZCARD", one)
    return commands, pending, places


async def _keys(log: Log, partition: int) -> list[bytes]:
    """The sets of open requests of a partition. By a script, which a cluster sends to the partition's node."""
    script = "return redis.call('KEYS', ARGV[1])"
    pattern = keys.open_requests(partition, "*")
    found: list[bytes] = await log.command("EVAL", script, 1, keys.events(partition), pattern)
    return found


async def _caught_up(log: Log, database: Any) -> bool:
    newest = [_order(await log.last_event_id(partition)) for partition in range(log.partitions)]
    # The archive lingers on purpose: it takes whole batches.
    rows = await database.fetch("SELECT partition, entry_id FROM checkpoints WHERE projection <> 'archive'")
    if await database.fetchval("SELECT count(*) FROM outbox"):
        return False  # a change that is not told yet
    return bool(rows) and all(_order(row["entry_id"]) >= newest[row["partition"]] for row in rows)


async def _changed(database: Any) -> tuple[Changed, ...]:
    """What the tables say that was done, whatever the log says."""
    rows = await database.fetch(
        """SELECT 'user.created' AS action, id::text AS subject FROM users
        UNION ALL SELECT 'key.created', id::text FROM api_keys
        UNION ALL SELECT 'key.revoked', id::text FROM api_keys WHERE revoked_at IS NOT NULL"""
    )
    return tuple(Changed(action=row["action"], subject=row["subject"]) for row in rows)


async def _told(log: Log) -> tuple[str, ...]:
    """A fact that is said twice is one."""
    found: dict[str, None] = {}
    for partition in range(log.partitions):
        after = "0-0"
        while entries := await log.read_events(partition, after, count=PAGE):
            after = entries[-1][0]
            found |= {said.id: None for said in (read(raw) for _, raw in entries) if said.type in WANTS}
    return tuple(found)


async def _audit(database: Any) -> tuple[Audited, ...]:
    rows = await database.fetch("SELECT event_id::text AS event, action, subject FROM audit")
    return tuple(Audited(event=row["event"], action=row["action"], subject=row["subject"]) for row in rows)


async def _chain(database_url: str, partitions: int) -> tuple[str, ...]:
    async with engine(database_url) as database, database.connect() as connection:
        found = [fault for partition in range(partitions) for fault in (await verify(connection, partition))[1]]
    return tuple(f"partition {fault.partition}, row {fault.number}: {fault.what}" for fault in found)


async def _terminals(log: Log) -> list[Terminal]:
    return [end for partition in range(log.partitions) for end in await _terminals_of(log, partition)]


async def _terminals_of(log: Log, partition: int) -> list[Terminal]:
    found, after = [], "0-0"
    while entries := await log.read_events(partition, after, count=PAGE):
        after = entries[-1][0]
        for entry, raw in entries:
            said = read(raw)
            body = said.body
            if isinstance(body, CompletionEnded):
                found.append(
                    Terminal(
                        entry=entry,
                        event=said.id,
                        request=said.subject,
                        account=said.account,
                        outcome=body.outcome,
                        why=getattr(body, "why", None),
                        billable=body.billable,
                        cost_nanousd=body.cost_nanousd,
                        calls=len(body.attempts),
                    )
                )
    return found


async def _live(log: Log, end: Terminal) -> Live:
    frames = await log.frames(end.account, end.request, "0-0")
    return Live(
        request=end.request,
        attempts=tuple(sorted({frame.attempt for frame in frames})),
        ends=tuple(frame.attempt for frame in frames if frame.kind == "e"),
    )


async def _rows(database: Any, query: str) -> tuple[Row, ...]:
    return tuple(
        Row(
            event=str(row["event_id"]),
            request=row["request_id"],
            account=str(row["user_id"]),
            cost_nanousd=int(Decimal(row["cost_usd"]) * NANO),
        )
        for row in await database.fetch(query)
    )


async def _rebuild(projection: str, data: Path, partitions: int) -> Rebuilt:
    """`helix replay … --dry-run`, as an operator would ask."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "replay", projection, "--dry-run", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**without_servers(os.environ), "HELIX_DATA": str(data), "HELIX_PARTITIONS": str(partitions)},
    )
    said, complaint = await process.communicate()
    if process.returncode not in (0, 1) or not said:
        return Rebuilt(projection=projection, equal=False, note=f"replay failed: {complaint.decode()[-500:]}")
    document = json.loads(said)
    return Rebuilt(projection=projection, equal=bool(document["equal"]), note=json.dumps(document)[:1000])


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
