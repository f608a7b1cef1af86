"""Make a projection's tables anew from the archive and the log, while the live ones are read and written.

One rule: whoever holds a projection's checkpoints knows that its live rows stand still. The shadow is filled beside
the running system; only for the last stretch are the checkpoints held, the few newest entries applied, and the tables
exchanged in one transaction. Nobody sees a half-built table, and no runner has to stop or be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.catalog import FromTheFuture, Unreadable
from projections import applying, archive, checkpoints, erased
from projections.expiring import EXPIRES
from projections.projection import BEGINNING, Projection, Seen, Source, order
from projections.shadow import Difference, Shadow, Stretch

_BATCH: Final = 2000
"""Entries in one transaction of the shadow: nobody waits for it, so larger than a live batch."""

_TURN: Final = 25
"""Envelopes read in one turn of the event loop, about half a millisecond."""

_LOCK_WAIT: Final = "3s"
"""How long the exchange waits for readers to leave a table; new readers queue behind it for as long."""

_TRIES: Final = 20
"""A reader that stays for minutes makes the exchange fail and be tried again, rather than stop everybody."""


_CONTENDED: Final = ("55P03", "40P01")
"""SQLSTATEs: a lock was not to be had in time, a deadlock was broken at our cost."""


class CannotRebuild(Exception):
    """It makes no sense, or somebody else is at it; the message says which."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`compare`: row for row at the live checkpoint, before anything is exchanged. `swap`: put the result in place."""

    stretch: Stretch = field(default_factory=Stretch)
    compare: bool = False
    swap: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    projection: str
    entries: int
    passed_by: int
    """Entries that have no row because they cannot be read or stored."""
    differences: tuple[Difference, ...] | None
    """None when nothing was compared."""
    swapped: bool
    filled_s: float
    """How long it took to read and apply all but the last stretch; comparing and exchanging come on top."""


async def rebuild(
    database: AsyncEngine,
    source: Source,
    projection: Projection,
    partitions: int,
    wish: Wish,
    progress: Callable[[int], None] = lambda entries: None,
) -> Result:
    """`database` must not pool its connections. `progress` is told how many entries have been read so far.

    Raises CannotRebuild, and `archive.Damaged` when the archive is not what was written.
    """
    if projection.wants is None:
        raise CannotRebuild(f"{projection.name} is what the others are rebuilt from")
    if not wish.stretch.whole and projection.times is None:
        raise CannotRebuild(f"the rows of {projection.name} add up over time: rebuild the whole")
    async with database.connect() as filling, database.connect() as reading:
        await reading.execution_options(isolation_level="AUTOCOMMIT")
        live_schema = str((await reading.execute(text("SELECT current_schema()"))).scalar_one())
        if not await checkpoints.hold(reading, f"rebuild {projection.name}", 0):
            raise CannotRebuild(f"{projection.name} is being rebuilt by somebody else")
        shadow = Shadow(filling, projection, live_schema)
        await shadow.make()
        try:
            return await _Rebuild(shadow, filling, reading, source, partitions, wish, progress).run()
        finally:
            if filling.in_transaction():
                await filling.rollback()
            await shadow.drop()


class _Rebuild:
    def __init__(
        self,
        shadow: Shadow,
        filling: AsyncConnection,
        reading: AsyncConnection,
        source: Source,
        partitions: int,
        wish: Wish,
        progress: Callable[[int], None],
    ) -> None:
        self._shadow = shadow
        self._projection = shadow.projection
        self._filling = filling
        self._reading = reading
        self._source = source
        self._wish = wish
        self._progress = progress
        self._stands = dict.fromkeys(range(partitions), BEGINNING)
        """Where the shadow stands in each partition."""
        self._entries = 0

    async def run(self) -> Result:
        differences, filled_s = None, 0.0
        if self._wish.compare or not self._wish.swap:
            filled_s += await self._timed(await self._live(self._reading))
            differences = await self._compare()
        if self._wish.swap:
            filled_s += await self._timed(dict.fromkeys(self._stands))
            await self._shadow.index()
            filled_s += await self._timed(dict.fromkeys(self._stands))
            await self._swap()
        passed_by = await self._shadow.passed_by()
        return Result(self._projection.name, self._entries, passed_by, differences, self._wish.swap, filled_s)

    async def _timed(self, targets: dict[int, str | None]) -> float:
        """`_fill` → how many seconds it took."""
        began = monotonic()
        await self._fill(targets)
        return monotonic() - began

    async def _live(self, connection: AsyncConnection, *, locked: bool = False) -> dict[int, str | None]:
        """Where the live tables stand."""
        found = await checkpoints.of(
            connection, self._shadow.live_schema, self._projection.name, len(self._stands), locked=locked
        )
        return dict(found)

    async def _fill(self, targets: dict[int, str | None]) -> None:
        """Apply every entry up to each partition's target (None: all there are), a transaction for each batch. While
        Postgres writes one batch, the next is fetched and understood."""
        for partition, target in targets.items():
            writing: asyncio.Task[None] | None = None
            try:
                async for batch in self._batches(partition, target):
                    await _understand(batch)
                    if writing:
                        await writing
                    writing = asyncio.create_task(self._write(batch))
            except BaseException:
                if writing:
                    writing.cancel()
                    await asyncio.gather(writing, return_exceptions=True)
                raise
            if writing:
                await writing

    async def _write(self, batch: list[Seen]) -> None:
        async with self._filling.begin():
            await self._apply(batch)

    async def _fill_inside(self, targets: dict[int, str | None]) -> None:
        """The same in the transaction that is open; for the few entries of the last stretch."""
        for partition, target in targets.items():
            async for batch in self._batches(partition, target):
                await self._apply(batch)

    async def _apply(self, batch: list[Seen]) -> None:
        wanted = batch if self._wish.stretch.whole else [seen for seen in batch if self._falls_into(seen)]
        try:
            gone = frozenset[str]()
            if self._projection.account_column:
                gone = await erased.among(self._filling, wanted, self._shadow.live_schema)
            await applying.apply_with_care(self._filling, self._projection, wanted, _unheard, gone)
        except FromTheFuture as newer:
            raise CannotRebuild(f"a newer version wrote what only it can read: {newer}") from None
        self._stands[batch[-1].partition] = batch[-1].entry_id
        self._entries += len(batch)
        self._progress(self._entries)

    def _falls_into(self, seen: Seen) -> bool:
        try:
            # What has expired since does not come back with the stretch that it was said in.
            return seen.envelope.at in self._wish.stretch or seen.envelope.type in EXPIRES
        except FromTheFuture:
            return True
        except Unreadable:
            return False  # nobody knows when it was; the live tables have passed it by as well

    async def _batches(self, partition: int, target: str | None) -> AsyncIterator[list[Seen]]:
        """What lies behind the shadow's place, first from the archive, then from the log.

        The log may be trimmed meanwhile, and says nothing when it is read behind an entry that is gone: so each read is
        used only when nothing behind its beginning has gone by then. Otherwise the archive has it by now.
        """
        stands = self._stands[partition]
        while True:
            async for entries in archive.entries(self._reading, partition, stands):
                if batch := _up_to(target, partition, entries):
                    stands = batch[-1].entry_id
                    yield batch
            while target is None or order(stands) < order(target):
                entries = await self._source.read(partition, stands, count=_BATCH, block_ms=None)
                trimmed_to = await self._source.trimmed_to(partition)
                if order(trimmed_to) > order(stands):
                    if order(await archive.last_id(self._reading, partition)) > order(stands):
                        break
                    raise CannotRebuild(
                        f"entries up to {trimmed_to} are in the log no more, the archive ends at {stands}"
                    )
                batch = _up_to(target, partition, entries)
                if batch:
                    stands = batch[-1].entry_id
                    yield batch
                if not batch or (target is None and len(entries) < _BATCH):
                    return  # the end, as far as anybody can say: on a busy log there is always one entry more
            else:
                return

    async def _compare(self) -> tuple[Difference, ...]:
        """One snapshot, in which the live rows stand at their checkpoint, and the shadow brought to the same place."""
        async with self._filling.begin():
            await self._filling.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await self._fill_inside(await self._live(self._filling))
            return tuple(await self._shadow.compare(self._wish.stretch))

    async def _swap(self) -> None:
        for _ in range(_TRIES):
            stood = dict(self._stands)
            try:
                async with self._filling.begin():
                    await self._filling.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                    live = await self._live(self._filling, locked=True)
                    await self._shadow.make_partitions()
                    await self._fill_inside(live)
                    if self._wish.stretch.whole:
                        # The shadow may have read further than a runner that is down or far behind.
                        await checkpoints.place(
                            self._filling, self._shadow.live_schema, self._projection.name, self._stands
                        )
                    await self._shadow.take_place(self._wish.stretch)
                    return
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _CONTENDED:
                    raise
                self._stands = stood
        raise CannotRebuild(f"somebody has held a table of {self._projection.name} through {_TRIES} tries")


async def _understand(batch: list[Seen]) -> None:
    """Read the envelopes now, a few at a time, so that who writes meanwhile gets his turns."""
    for at, seen in enumerate(batch):
        with contextlib.suppress(Unreadable):  # it will say so to who asks
            _ = seen.envelope
        if at % _TURN == 0:
            await asyncio.sleep(0)


def _up_to(target: str | None, partition: int, entries: list[tuple[str, bytes]]) -> list[Seen]:
    return [
        Seen(partition, entry_id, raw)
        for entry_id, raw in entries
        if target is None or order(entry_id) <= order(target)
    ]


def _unheard(projection: str, partition: int, entry_id: str, reason: str) -> None:
    """The live runner has told of it; here it is counted."""
