"""How the log is read into Postgres, and how far behind that is: the log as projections ask for it, and what they tell.

One rule: the lag is counted, not guessed. The log says how many entries were ever added, the runners how many they have
passed; the two meet whenever a reader stands at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app import telemetry
from app.log import Connection, Log
from app.log.connection import LogRefused
from app.log.keys import events
from projections.projection import BEGINNING, order

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Extent:
    """A partition's events: how many there are, how many there ever were, and the ids at both ends."""

    length: int = 0
    added: int = 0
    last_id: str = BEGINNING
    trimmed_to: str = BEGINNING


async def extent(of: Log, partition: int) -> Extent:
    try:
        flat = await of.command("XINFO", "STREAM", events(partition))
    except LogRefused as refused:
        if "no such key" in str(refused):
            return Extent()
        raise
    said = dict(zip(flat[::2], flat[1::2], strict=True))
    return Extent(
        length=said[b"length"],
        added=said[b"entries-added"],
        last_id=said[b"last-generated-id"].decode(),
        trimmed_to=said[b"max-deleted-entry-id"].decode(),
    )


class LogSource:
    """`projections.projection.Source`: the log itself. `waiting` is a connection that nobody else uses."""

    def __init__(self, of: Log, waiting: Connection | None = None) -> None:
        self._log = of
        self._waiting = waiting

    async def read(self, partition: int, after: str, *, count: int, block_ms: int | None) -> list[tuple[str, bytes]]:
        over = self._waiting if block_ms is not None else None
        return await self._log.read_events(partition, after, count=count, block_ms=block_ms, over=over)

    async def trimmed_to(self, partition: int) -> str:
        return (await extent(self._log, partition)).trimmed_to


@dataclass(slots=True)
class _Reader:
    entry_id: str
    passed: int = 0
    origin: int | None = None
    """What had been added when this reader had passed nothing yet; None until it is known."""


class Watch:
    """`projections.runner.Watch`: log lines and metrics."""

    def __init__(self) -> None:
        self._readers: dict[tuple[str, int], _Reader] = {}

    def took_over(self, projection: str, partition: int, entry_id: str) -> None:
        self._readers[projection, partition] = _Reader(entry_id)
        log.info("projection_taken_over", projection=projection, partition=partition, entry=entry_id)

    def applied(self, projections: Sequence[str], partition: int, entries: int, entry_id: str) -> None:
        for projection in projections:
            reader = self._readers[projection, partition]
            reader.entry_id = entry_id
            reader.passed += entries

    def passed_by(self, projection: str, partition: int, entry_id: str, reason: str) -> None:
        telemetry.UNREADABLE.inc()
        log.error("event_unreadable", projection=projection, partition=partition, entry=entry_id, reason=reason)

    def gap(self, projection: str, partition: int, entry_id: str, trimmed_to: str) -> None:
        log.error(
            "events_trimmed_unread", projection=projection, partition=partition, entry=entry_id, trimmed_to=trimmed_to
        )

    def interrupted(self, partition: int, error: Exception, again_s: float) -> None:
        log.warning("projections_interrupted", partition=partition, error=type(error).__name__, again_s=again_s)

    def waits(self, partition: int, entry_id: str, reason: str) -> None:
        telemetry.ALARMS.labels("event_from_the_future").inc()
        log.error("event_from_the_future", partition=partition, entry=entry_id, reason=reason)

    def ahead_of(self, partition: int, now: Extent) -> bool:
        """Whether a reader stands behind the newest entry there ever was."""
        return any(
            of == partition and order(reader.entry_id) > order(now.last_id) for (_, of), reader in self._readers.items()
        )

    def measure(self, partition: int, now: Extent) -> dict[str, int]:
        """Projection → entries of a partition that it has not passed, told to the metrics as well."""
        lags = {}
        for (projection, of), reader in self._readers.items():
            if of == partition:
                lags[projection] = _lag(reader, now)
                telemetry.READER_LAG.labels(projection, str(partition)).set(lags[projection])
        return lags


def _lag(reader: _Reader, now: Extent) -> int:
    if reader.entry_id == now.last_id:
        reader.origin = now.added - reader.passed
        return 0
    if reader.origin is None and reader.passed == 0 and reader.entry_id == BEGINNING:
        reader.origin = now.added - now.length
    # Until a reader that began in the middle has been at the end once: no more than there are.
    return now.length if reader.origin is None else max(0, now.added - reader.origin - reader.passed)
