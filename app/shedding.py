"""Refuses new work before the log is full, so that what is under way can still be ended and written down.

One rule: it costs the road nothing. A task looks once a second; the door looks into a set that is nearly always empty.
Of a cluster, the accounts of the node that is full are refused, and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from app import telemetry
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.log.memory import shares_used

log = structlog.get_logger()

SHED_ABOVE: Final = 0.70
"""Share of the log's memory. The rest is for what was accepted: its frames, its ends, the events until they are read."""

TAKE_BELOW: Final = 0.65
"""Lower, so that the door does not open for one request and close again."""

LOOK_S: Final = 1.0

RETRY_AFTER_S: Final = 10.0
"""Work in flight ends and the trimmer comes round within some of these; asking every second would only be refused."""


class Shedding:
    """Whose new work has to be refused just now."""

    def __init__(self, of: Log) -> None:
        self._log = of
        self._looking: asyncio.Task[None] | None = None
        self._full: frozenset[str] = frozenset()
        """Addresses of the servers that are nearly full."""

    def full_for(self, account: str) -> bool:
        """Whether the server that holds an account's partition is nearly full."""
        return bool(self._full) and self._log.nodes.url_of(self._log.partition_of(account)) in self._full

    async def start(self) -> None:
        """Look once, then once a second until `stop`."""
        await self._look()
        self._looking = asyncio.create_task(self._always(), name="look at the log's memory")

    async def stop(self) -> None:
        if self._looking:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def _always(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        try:
            shares = await shares_used(self._log)
        except (LogGone, LogRefused):
            return  # nothing can be accepted just now anyway; what was known last holds
        full = {url for url, share in shares.items() if share > (TAKE_BELOW if url in self._full else SHED_ABOVE)}
        for url in full - self._full:
            telemetry.ALARMS.labels("log_full").inc()
            partitions = self._log.nodes.groups().get(url, [])
            log.error("log_full", share=round(shares[url], 3), refused_above=SHED_ABOVE, partitions=partitions)
        for url in self._full & shares.keys() - full:
            log.info("log_has_room", share=round(shares[url], 3))
        self._full = frozenset(full | (self._full - shares.keys()))
