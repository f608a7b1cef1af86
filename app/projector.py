"""The projector process: reads the log into Postgres, publishes the outbox and makes partitions ahead of time.

One rule: any number may run. A projection of a partition is run by the one that holds its lock; the others stand by.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from itertools import groupby
from typing import Final, NoReturn

import asyncpg
import structlog
import uvloop
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app import collector, mail, outbox, partitions, ready, telemetry, trimmer
from app.continuity import compare
from app.database import open_pool
from app.erasure.keeper import keep as keep_erasing
from app.export.keeper import keep as keep_exporting
from app.key_ring import KeyRing
from app.limits.sweeping import Sweeper
from app.limits.tiers import load_tiers
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.mail.choice import has_post, post_of
from app.postgres import engine
from app.readers import Extent, LogSource, Watch, extent
from app.retention.sweeping import keep as keep_sweeping
from app.settings import Settings, settings
from app.wiring import preflight
from projections import PROJECTIONS
from projections.runner import Runner

log = structlog.get_logger()

OUTAGES: Final = (OSError, LogRefused, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What the log and the making of a connection raise when a server is away or comes up; LogGone is an OSError."""

MEASURE_S: Final = 5.0
"""How often lags are measured and runners looked after."""

SWEEPERS: Final = 2
"""Connections for alerts and for comparing budgets with the books: one at a time, and one to spare."""

STUCK_S: Final = 120.0
"""A runner comes round every second or two and tries again every five; one that has not for so long, while both servers
answer, will not by itself."""


PROJECTOR: Final = "helix projector"
"""What Postgres shows for a projector's connections, its name behind it: so `doctor` knows who holds what."""


class Stuck(Exception):
    """A runner does not come round; a new process may."""


class Elsewhere(Exception):
    """A partition lies on another server than at the start: a new process reads it there."""


class LogWentBack(Exception):
    """The log lacks what has been read from it: a person has to decide (docs/runbook.md)."""


async def serve(chosen: Settings) -> None:
    """Run everything until cancelled. Raises Stuck, LogWentBack, Elsewhere, and whatever nobody foresaw."""
    async with AsyncExitStack() as stack:
        stream = await Log(chosen.log, name="projector", partitions=chosen.helix_partitions).open()
        stack.push_async_callback(stream.close)
        database = await stack.enter_async_context(engine(chosen.database, f"{PROJECTOR} {chosen.helix_process_name}"))
        ring, post = KeyRing.parse(chosen.api_key_encryption_key.get_secret_value()), post_of(chosen)
        mails = mail.Mails(ring, has_post(chosen))
        pool = await open_pool(
            chosen.database, name=f"{PROJECTOR} {chosen.helix_process_name}", connections_max=SWEEPERS
        )
        stack.push_async_callback(pool.close)
        compared = await _stand_by_for_the_right_log(stream, database)
        watch = Watch()
        runners = []
        for partition in range(chosen.helix_partitions):
            for pace, group in groupby(sorted(PROJECTIONS, key=lambda one: one.pace.linger_s), lambda one: one.pace):
                purpose = f"{partition}-{pace.linger_s:g}s"
                waiting = await stack.enter_async_context(stream.blocking(purpose, partition, patiently=True))
                source = LogSource(stream, waiting)
                runners.append(Runner(database, source, tuple(group), partition, watch, outages=OUTAGES))
        try:
            async with asyncio.TaskGroup() as tasks:
                for runner in runners:
                    tasks.create_task(runner.run())
                tasks.create_task(outbox.publish_always(chosen.database, stream))
                tasks.create_task(mail.send_always(chosen.database, ring, post))
                tasks.create_task(keep_erasing(chosen, stream, ring, mails if mails.have_post else None))
                tasks.create_task(Sweeper(stream, pool, mails if mails.have_post else None).keep())
                tasks.create_task(keep_exporting(chosen.database, ring, mails if mails.have_post else None))
                tasks.create_task(keep_sweeping(chosen.database, load_tiers(chosen.helix_tiers)))
                tasks.create_task(partitions.keep(database))
                tasks.create_task(trimmer.keep_short(stream, database))
                tasks.create_task(_look_after(runners, database, stream, watch, compared))
                names = [projection.name for projection in PROJECTIONS]
                log.info("projector_started", partitions=chosen.helix_partitions, projections=names)
                ready.announce()
        finally:
            # A batch that was not committed is as if it had never been read.
            log.info("projector_drained", handed_over=sum(runner.held for runner in runners))


async def _stand_by_for_the_right_log(stream: Log, database: AsyncEngine) -> bool:
    """Return when the log is the one that was read; or, when Postgres is away and nothing can be compared, with False.

    Meanwhile this process does nothing and says so. The others run on: what they accept is read later.
    """
    while True:
        try:
            return await _refuse_another_log(stream, database)
        except LogWentBack:
            ready.announce()
            await asyncio.sleep(MEASURE_S)


async def _refuse_another_log(stream: Log, database: AsyncEngine) -> bool:
    """Whether log and Postgres could be asked. Raises LogWentBack when a partition's log is not the one that was read."""
    try:
        async with database.connect() as connection:
            found = await compare(stream, connection)
    except (DBAPIError, *OUTAGES) as outage:
        log.warning("log_not_compared", error=type(outage).__name__)
        return False
    for fault in found.back:
        telemetry.ALARMS.labels("log_went_back").inc()
        log.error("log_went_back", **asdict(fault))
    if found.back:
        raise LogWentBack(f"{len(found.back)} of {stream.partitions} partitions")
    if found.away:
        log.warning("log_not_compared", partitions=found.away)
    return not found.away


async def _look_after(
    runners: Sequence[Runner], database: AsyncEngine, stream: Log, watch: Watch, compared: bool
) -> None:
    before: dict[int, Extent] = {}
    while True:
        await asyncio.sleep(MEASURE_S)
        try:
            now = await _extents(stream)
            fewer = [partition for partition in now if now[partition].added < before.get(partition, Extent()).added]
            if fewer or not compared or any(watch.ahead_of(partition, one) for partition, one in now.items()):
                compared = await _refuse_another_log(stream, database)
            before |= now
            for partition, one in now.items():
                watch.measure(partition, one)
            if stream.nodes.moved.is_set():
                raise Elsewhere
            late_before = asyncio.get_running_loop().time() - STUCK_S
            late = [one for one in runners if one.partition in now and one.stepped_at < late_before]
            if late:
                async with database.connect() as connection:
                    await connection.execute(text("SELECT 1"))
                raise Stuck(f"{len(late)} of {len(runners)} runners have not come round for {STUCK_S:.0f} s")
        except (DBAPIError, *OUTAGES) as outage:
            log.warning("lag_not_measured", error=type(outage).__name__)


async def _extents(stream: Log) -> dict[int, Extent]:
    """Of the partitions whose server can be reached. Raises LogGone when none can."""
    found = {}
    for partition in range(stream.partitions):
        try:
            found[partition] = await extent(stream, partition)
        except LogGone:
            if partition == stream.partitions - 1 and not found:
                raise
    return found


async def _until_told(chosen: Settings) -> None:
    serving = asyncio.create_task(serve(chosen))
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("projector_stopped")


def run() -> None:
    """The projector process, until SIGTERM, or until a partition lies elsewhere. Exits with 1 when it is stuck or the log
    went back."""
    chosen = settings()
    telemetry.configure(chosen, "projector")
    asyncio.run(preflight(chosen))
    collector.rest(collector.ALLOCATIONS_OF_READERS)
    try:
        uvloop.run(_until_told(chosen))
    except ExceptionGroup as faults:
        expected = faults.subgroup((Stuck, LogWentBack, Elsewhere))
        if expected is None:
            raise
        why = expected.exceptions[0]
        if isinstance(why, Elsewhere):
            log.info("projector_leaves", reason="the log's partitions lie elsewhere")
            return
        _end("projector_stuck" if isinstance(why, Stuck) else "log_not_the_one_that_was_read", why)


def _end(fact: str, why: Exception) -> NoReturn:
    log.error(fact, why=str(why))
    raise SystemExit(1) from None
