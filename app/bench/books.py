"""What Helix has written down: how far its projections are, and how many usage rows there are.

One rule: a measurement ends when everything it caused is written, so that no work is left out of its cost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Final

import asyncpg

from app.bench.floors import Log
from app.ids import new_id
from app.log import keys
from events.catalog import read
from events.completions import CompletionFinished
from events.message import Envelope

_PATIENCE_S: Final = 120.0
"""The longest a backlog may take to drain; beyond it the projector is not working."""

_LOOK_S: Final = 0.05
"""How often to look: a look costs Postgres a tenth of a millisecond, which is counted as Helix's."""

_WRITE_TOGETHER: Final = 500
"""Copies in one write to the log."""


class Behind(Exception):
    """The projections did not catch up; the message says which are behind."""


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


class Books:
    """A view into one running Helix's log and database."""

    def __init__(self, database: asyncpg.Connection, log: Log, partitions: int) -> None:
        self._database = database
        self._log = log
        self._partitions = partitions

    def _last(self, partition: int) -> str | None:
        found = self._log.ask([("XREVRANGE", keys.events(partition), "+", "-", "COUNT", 1)])[0]
        return found[0][0].decode() if isinstance(found, list) and found else None

    def events(self) -> int:
        """How many events the log holds."""
        replies = self._log.ask([("XLEN", keys.events(partition)) for partition in range(self._partitions)])
        return sum(reply for reply in replies if isinstance(reply, int))

    async def caught_up(self, *projections: str) -> float:
        """Wait until the projections (all, where none is named) have read the log to its end; `perf_counter()` then.

        Raises Behind.
        """
        ends = {partition: self._last(partition) for partition in range(self._partitions)}
        until = perf_counter() + _PATIENCE_S
        while behind := await self._behind(ends, projections):
            if perf_counter() > until:
                raise Behind(", ".join(behind))
            await asyncio.sleep(_LOOK_S)
        return perf_counter()

    async def _behind(self, ends: dict[int, str | None], projections: tuple[str, ...]) -> list[str]:
        rows = await self._database.fetch("SELECT projection, partition, entry_id FROM checkpoints")
        reached = {(row["projection"], row["partition"]): _order(row["entry_id"]) for row in rows}
        names = projections or {name for name, _ in reached} or {"usage"}
        return [
            f"{name} of partition {partition}"
            for partition, end in ends.items()
            if end
            for name in names
            if reached.get((name, partition), (0, 0)) < _order(end)
        ]

    async def usage_rows(self) -> int:
        return int(await self._database.fetchval("SELECT count(*) FROM usage"))

    async def newest_finished(self) -> tuple[int, Envelope]:
        """A completion that has just been finished, and its partition. Raises LookupError when there is none."""
        for partition in range(self._partitions):
            found = self._log.ask([("XREVRANGE", keys.events(partition), "+", "-", "COUNT", 100)])[0]
            assert isinstance(found, list)
            for _, fields in found:
                envelope = read(fields[fields.index(b"__data__") + 1])
                if isinstance(envelope.body, CompletionFinished):
                    return partition, envelope
        raise LookupError("no completion has been finished")

    async def tell_again(self, count: int) -> None:
        """Append copies of the newest finished completion, each under ids of its own, as if so many had just ended."""
        partition, said = await self.newest_finished()
        for start in range(0, count, _WRITE_TOGETHER):
            copies = [
                said.model_copy(update={"id": new_id(), "subject": f"req_{new_id().replace('-', '')}"})
                for _ in range(min(_WRITE_TOGETHER, count - start))
            ]
            self._log.ask(
                [
                    ("XADD", keys.events(partition), "*", "__data__", copy.encode(), "type", copy.type, "id", copy.id)
                    for copy in copies
                ]
            )


@asynccontextmanager
async def opened(database_url: str, redis_url: str) -> AsyncIterator[Books]:
    database = await asyncpg.connect(database_url)
    log = Log(redis_url)
    try:
        yield Books(database, log, int(os.environ.get("HELIX_PARTITIONS", "1")))
    finally:
        log.close()
        await database.close()
