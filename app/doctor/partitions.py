"""How the partitions stand: what waits, who holds it, how far each reader has come. One rule: looking changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

from app.doctor.checks import Check, numbers
from app.log import LogGone, keys
from app.log.connection import Argument, LogRefused, Reply
from app.log.nodes import Nodes
from projections.projection import BEGINNING, order

RENEWALS_MISSED: Final = 2.5
"""Leases without a renewal after which an entry should long have another owner."""
ALIVE_S: Final = 15.0
"""A worker asks for more every two seconds; one that has not for so long is gone, or frozen."""
LATE_S: Final = 30.0
"""Readers are a second behind, the archive five; one that is later than this does not keep up."""
COUNTED_MAX: Final = 1000
"""Unread entries are counted on the log server up to here."""
_COUNT: Final = f"return #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', {COUNTED_MAX})"


@dataclass(frozen=True, slots=True)
class Owner:
    """A worker as one partition's group knows it."""

    name: str
    holds: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition on the log. `away`: its server does not answer, and nothing else is known."""

    number: int
    node: str
    away: bool = False
    group: bool = False
    """Whether the workers' group is there."""
    count: int | None = None
    """How many partitions there are, as it is written down here."""
    waiting: int = 0
    """Commands that nobody has taken up."""
    pending: int = 0
    """Commands in somebody's hands."""
    oldest_s: float | None = None
    """How long ago the oldest unfinished command was accepted."""
    unrenewed: int = 0
    events: int = 0
    last_id: str = BEGINNING
    parked: int = 0
    owners: tuple[Owner, ...] = ()


@dataclass(frozen=True, slots=True)
class Stand:
    """A projection, or the archive, in one partition. `behind`: up to COUNTED_MAX; None when its server is away."""

    projection: str
    partition: int
    entry_id: str | None
    """None: it has never run."""
    behind: int | None
    late_s: float
    held_by: str | None
    """The projector that runs it."""


async def survey(nodes: Nodes, partitions: int, lease_s: float) -> list[Partition]:
    """Every partition, in order."""
    return list(await asyncio.gather(*(_partition(nodes, number, lease_s) for number in range(partitions))))


async def _partition(nodes: Nodes, number: int, lease_s: float) -> Partition:
    node = nodes.address_of(number)
    commands, events = keys.commands(number), keys.events(number)
    try:
        queue, log, parked, count, time = await asyncio.gather(
            _stream(nodes, commands),
            _stream(nodes, events),
            nodes("XLEN", keys.parked(number)),
            nodes("GET", keys.partitions(number)),
            nodes.at(number)("TIME"),
        )
        names = {_named(flat)[b"name"] for flat in await _or_nothing(nodes, "XINFO", "GROUPS", commands)}
        group = keys.COMPLETIONS.encode() in names
        pending, owners, unrenewed = (
            await asyncio.gather(
                nodes("XPENDING", commands, keys.COMPLETIONS),
                nodes("XINFO", "CONSUMERS", commands, keys.COMPLETIONS),
                nodes(
                    *("XPENDING", commands, keys.COMPLETIONS, "IDLE", round(lease_s * RENEWALS_MISSED * 1000)),
                    *("-", "+", COUNTED_MAX),
                ),
            )
            if group
            else ([0], [], [])
        )
    except LogGone:
        return Partition(number, node, away=True)
    first = queue.get(b"first-entry")
    now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
    return Partition(
        number=number,
        node=node,
        group=group,
        count=None if count is None else int(count),
        waiting=int(queue.get(b"length", 0)) - int(pending[0]),
        pending=int(pending[0]),
        oldest_s=max(0.0, (now_ms - order(first[0].decode())[0]) / 1000) if first else None,
        unrenewed=len(unrenewed),
        events=int(log.get(b"length", 0)),
        last_id=log[b"last-generated-id"].decode() if log else BEGINNING,
        parked=int(parked),
        owners=tuple(_owner(_named(flat)) for flat in owners),
    )


async def stands(nodes: Nodes, connection: Any, found: Sequence[Partition], names: Sequence[str]) -> list[Stand]:
    """Each projection in each partition, from a connection of asyncpg."""
    rows = await connection.fetch("SELECT projection, partition, entry_id FROM checkpoints")
    at = {(row["projection"], row["partition"]): str(row["entry_id"]) for row in rows}
    locks = await connection.fetch(
        "SELECT classid::bigint AS projection, objid::bigint AS partition, application_name AS name FROM pg_locks"
        " JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
        " AND datname = current_database()"
    )
    holders = {(row["projection"], row["partition"]): str(row["name"]) for row in locks}
    asked = [(name, partition) for name in names for partition in found]
    behind = await asyncio.gather(*(_behind(nodes, one, at.get((name, one.number))) for name, one in asked))
    return [
        Stand(
            projection=name,
            partition=one.number,
            entry_id=at.get((name, one.number)),
            behind=count,
            late_s=_late_s(at.get((name, one.number)), one) if count else 0.0,
            held_by=holders.get(((crc32(name.encode()) - 2**31) % 2**32, one.number)),
        )
        for (name, one), count in zip(asked, behind, strict=True)
    ]


async def _behind(nodes: Nodes, partition: Partition, entry_id: str | None) -> int | None:
    if partition.away:
        return None
    if entry_id == partition.last_id or not partition.events:
        return 0
    try:
        said = await nodes("EVAL", _COUNT.encode(), 1, keys.events(partition.number), entry_id or BEGINNING)
    except LogGone:
        return None
    return int(said)


def _late_s(entry_id: str | None, partition: Partition) -> float:
    if entry_id in (None, BEGINNING):
        return 0.0  # it stands before everything: how long ago that was, nobody can say
    assert entry_id is not None
    return max(0.0, (order(partition.last_id)[0] - order(entry_id)[0]) / 1000)


def judge(found: Sequence[Partition], readers: Sequence[Stand], asked: int) -> list[Check]:
    """What is not as it should be, and that all the rest is."""
    there = [one for one in found if not one.away]
    return [
        *_counted(there, asked),
        *_groups(there),
        *_workers(there),
        *_parked(there),
        *_readers(readers),
    ]


def _counted(there: Sequence[Partition], asked: int) -> list[Check]:
    other = next((one.count for one in there if one.count not in (None, asked)), None)
    if other is not None:
        mend = f"set HELIX_PARTITIONS to {other}; docs/scaling.md says how a count is changed"
        return [Check("partitions", "bad", f"{asked}, but the log was made with {other}", mend)]
    return [Check("partitions", "good", str(asked))]


def _groups(there: Sequence[Partition]) -> list[Check]:
    missing = [keys.commands(one.number) for one in there if not one.group]
    if missing:
        return [Check("log groups", "bad", f"not declared: {', '.join(missing)}", "run `./helix migrate`")]
    return [Check("log groups", "good", "declared")]


def _workers(there: Sequence[Partition]) -> list[Check]:
    checks = []
    unread = [one for one in there if not any(owner.idle_s < ALIVE_S for owner in one.owners)]
    if unread:
        waits = sum(one.waiting + one.pending for one in unread)
        found = f"none reads {numbers([one.number for one in unread])}; {waits} commands wait there"
        checks.append(Check("workers", "bad" if waits else "warning", found, "start one: `./helix worker`"))
    alone = [one for one in there if one.unrenewed and one not in unread]
    if alone:
        count = sum(one.unrenewed for one in alone)
        found = f"{count} commands in {numbers([one.number for one in alone])} have an owner that does not renew them"
        mend = "somebody takes them over within a lease; where this stays, restart the workers"
        checks.append(Check("ownership", "warning", found, mend))
    living = {owner.name for one in there for owner in one.owners if owner.idle_s < ALIVE_S}
    return checks or [Check("workers", "good", f"{len(living)} alive")]


def _parked(there: Sequence[Partition]) -> list[Check]:
    count = sum(one.parked for one in there)
    if count:
        return [Check("dead letters", "warning", f"{count} parked", "read them: `./helix parked list`")]
    return [Check("dead letters", "good", "none")]


def _readers(readers: Sequence[Stand]) -> list[Check]:
    checks = []
    known = [one for one in readers if one.behind is not None]
    free = [one for one in known if one.held_by is None]
    if free:
        unread = any(one.behind for one in free)
        names = ", ".join(sorted({one.projection for one in free}))
        found = f"nobody runs {names} of {numbers(sorted({one.partition for one in free}))}"
        checks.append(Check("projectors", "bad" if unread else "warning", found, "start one: `./helix projector`"))
    for one in sorted(known, key=lambda one: -one.late_s)[:1]:
        if one.late_s > LATE_S and one.held_by:
            found = f"{one.projection} of partition {one.partition} is {one.late_s:.0f} s late"
            mend = "look for `projections_interrupted` in the projector's lines, and at Postgres' load"
            checks.append(Check("readers", "warning", found, mend))
    return checks or [Check("readers", "good", "all keep up")]


async def _stream(nodes: Nodes, key: str) -> Mapping[bytes, Reply]:
    return _named(await _or_nothing(nodes, "XINFO", "STREAM", key))


async def _or_nothing(nodes: Nodes, *command: Argument) -> Sequence[Reply]:
    """Nothing of a key that is not there."""
    try:
        said: Sequence[Reply] = await nodes(*command)
        return said
    except LogRefused as refused:
        if "no such key" in str(refused):
            return []
        raise


def _named(flat: Sequence[Reply]) -> Mapping[bytes, Reply]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _owner(said: Mapping[bytes, Reply]) -> Owner:
    return Owner(said[b"name"].decode(), int(said[b"pending"]), int(said[b"idle"]) / 1000)
