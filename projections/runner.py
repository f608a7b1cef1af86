"""Keep projections up with one partition of the log.

One rule: rows and checkpoint commit in one transaction, written by the session that holds the projection's lock. A
process that dies anywhere leaves nothing half done, and the next one goes on where it stood. Projections of one pace
are run together, so that each entry is fetched and read once and a batch costs one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.catalog import FromTheFuture, Unreadable
from projections import applying, checkpoints, erased
from projections.projection import Projection, Seen, Source, order

_BLOCK_MS: Final = 1000
"""How long one read of the log waits; between two of them the runner sees to its locks."""

_LOCKS_S: Final = 1.0
"""How often a runner that stands by tries to take over."""

_AGAIN_S_MIN: Final = 0.1
_AGAIN_S_MAX: Final = 5.0
"""Pause before going on after an outage: doubled from try to try, so that a server coming up is not run over."""


class Watch(Protocol):
    """Told of what happens; each is a fact and must not block."""

    def took_over(self, projection: str, partition: int, entry_id: str) -> None: ...

    def applied(self, projections: Sequence[str], partition: int, entries: int, entry_id: str) -> None: ...

    def passed_by(self, projection: str, partition: int, entry_id: str, reason: str) -> None: ...

    def gap(self, projection: str, partition: int, entry_id: str, trimmed_to: str) -> None:
        """Entries behind the checkpoint were trimmed before they were applied: only a rebuild brings them back."""

    def interrupted(self, partition: int, error: Exception, again_s: float) -> None: ...

    def waits(self, partition: int, entry_id: str, reason: str) -> None:
        """At an entry that only a newer process can read."""


class Runner:
    """Runs projections of one pace over one partition, until it is cancelled."""

    def __init__(
        self,
        database: AsyncEngine,
        source: Source,
        projections: Sequence[Projection],
        partition: int,
        watch: Watch,
        *,
        outages: tuple[type[Exception], ...] = (OSError,),
    ) -> None:
        self._database = database
        self._source = source
        self._projections = projections
        self.partition = partition
        self._watch = watch
        self._outages: tuple[type[Exception], ...] = (DBAPIError, checkpoints.Moved, *outages)
        self._pace = projections[0].pace
        self._stands: dict[str, str] = {}
        """Where each projection that this runner holds stands."""
        self._lock_at = 0.0
        self._again_s = _AGAIN_S_MIN
        self.stepped_at = asyncio.get_running_loop().time()
        """When it last came round; it does so every second or two, whether there is work or not."""

    @property
    def held(self) -> int:
        """How many projections this runner keeps up; others wait to take over."""
        return len(self._stands)

    async def run(self) -> None:
        """`outages`: what the source raises when it is away; everything unforeseen ends the runner."""
        while True:
            try:
                async with self._database.connect() as connection:
                    self._stands.clear()
                    self._lock_at = 0.0
                    while True:
                        await self._step(connection)
                        self.stepped_at = asyncio.get_running_loop().time()
            except self._outages as outage:
                running = asyncio.current_task()
                if running and running.cancelling():
                    # The driver, interrupted in the middle of a word, may call a cancellation an outage.
                    raise asyncio.CancelledError from outage
                self._watch.interrupted(self.partition, outage, self._again_s)
                await asyncio.sleep(self._again_s)
                self._again_s = min(self._again_s * 2, _AGAIN_S_MAX)

    async def _step(self, connection: AsyncConnection) -> None:
        await self._take_over(connection)
        if not self._stands:
            await asyncio.sleep(_LOCKS_S)
            return
        # Those that stand furthest back go first, up to where the next ones stand.
        after = min(self._stands.values(), key=order)
        behind = [projection for projection in self._projections if self._stands.get(projection.name) == after]
        ahead = [entry_id for entry_id in self._stands.values() if entry_id != after]
        until = min(ahead, key=order, default=None)
        entries = await self._read(after, until)
        if not entries and until is None:
            return
        batch = self._until_the_future(behind, [Seen(self.partition, entry_id, raw) for entry_id, raw in entries])
        if entries and not batch:
            await asyncio.sleep(_AGAIN_S_MAX)
            return
        reached = batch[-1].entry_id if batch else until
        assert reached is not None
        await self._commit(connection, behind, batch, after, reached)
        for projection in behind:
            self._stands[projection.name] = reached
        self._again_s = _AGAIN_S_MIN
        self._watch.applied([projection.name for projection in behind], self.partition, len(batch), reached)

    async def _take_over(self, connection: AsyncConnection) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._stands) == len(self._projections) or now < self._lock_at:
            return
        self._lock_at = now + _LOCKS_S
        async with connection.begin():
            if not self._pace.durable:
                await connection.execute(text("SET SESSION synchronous_commit = off"))
            for projection in self._projections:
                name = projection.name
                if name not in self._stands and await checkpoints.hold(connection, name, self.partition):
                    self._stands[name] = await checkpoints.load(connection, name, self.partition)
                    self._watch.took_over(name, self.partition, self._stands[name])
                    trimmed_to = await self._source.trimmed_to(self.partition)
                    if order(trimmed_to) > order(self._stands[name]):
                        self._watch.gap(name, self.partition, self._stands[name], trimmed_to)

    async def _read(self, after: str, until: str | None) -> list[tuple[str, bytes]]:
        """Entries behind `after` and not behind `until`; with a first one there, others are waited for a moment."""
        most = self._pace.entries_max
        if until is not None:
            entries = await self._source.read(self.partition, after, count=most, block_ms=None)
            return [entry for entry in entries if order(entry[0]) <= order(until)]
        entries = await self._source.read(self.partition, after, count=most, block_ms=_BLOCK_MS)
        if 0 < len(entries) < most:
            await asyncio.sleep(self._pace.linger_s)
            entries += await self._source.read(self.partition, entries[-1][0], count=most - len(entries), block_ms=None)
        return entries

    def _until_the_future(self, projections: Sequence[Projection], batch: list[Seen]) -> list[Seen]:
        """What stands before the first entry that one of the projections wants and only a newer process can read. It is
        waited at, for its row would be missing: whoever takes over from us goes on there."""
        wanted = frozenset[str]().union(*(projection.wants or () for projection in projections))
        for at, seen in enumerate(batch if wanted else ()):
            try:
                seen.envelope  # noqa: B018  # to be read, and kept for those who apply it
            except FromTheFuture as newer:
                if newer.type in wanted:
                    if at == 0:
                        self._watch.waits(self.partition, seen.entry_id, str(newer))
                    return batch[:at]
            except Unreadable:
                pass  # passed by when it is applied
        return batch

    async def _commit(
        self, connection: AsyncConnection, projections: Sequence[Projection], batch: list[Seen], before: str, after: str
    ) -> None:
        try:
            await self._apply(connection, projections, batch, before, after, applying.apply)
        except (DBAPIError, ValueError) as error:
            if not applying.refused(error):
                raise
            await self._apply(connection, projections, batch, before, after, applying.apply_with_care)

    async def _apply(
        self,
        connection: AsyncConnection,
        projections: Sequence[Projection],
        batch: list[Seen],
        before: str,
        after: str,
        apply: applying.Apply,
    ) -> None:
        async with connection.begin():
            # First of all: it is what a rebuild waits at, and it must not meet us in the tables.
            await checkpoints.advance(connection, projections, self.partition, before, after)
            if batch:
                personal = any(projection.account_column for projection in projections)
                gone = await erased.among(connection, batch) if personal else frozenset[str]()
                for projection in projections:
                    await apply(connection, projection, batch, self._watch.passed_by, gone)
