"""Refuses new work before the log is full, so that what is under way can still be ended and written down.

One rule: it costs the road nothing. A task looks once a second; the door reads one boolean.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from app import telemetry
from app.log import Log, LogGone
from app.log.connection import LogRefused
from app.log.memory import share_used

log = structlog.get_logger()

SHED_ABOVE: Final = 0.70
"""Share of the log's memory. The rest is for what was accepted: its frames, its ends, the events until they are read."""

TAKE_BELOW: Final = 0.65
"""Lower, so that the door does not open for one request and close again."""

LOOK_S: Final = 1.0

RETRY_AFTER_S: Final = 10.0
"""Work in flight ends and the trimmer comes round within some of these; asking every second would only be refused."""


class Shedding:
    """`full` is whether new work has to be refused just now."""

    def __init__(self, of: Log) -> None:
        self._log = of
        self._looking: asyncio.Task[None] | None = None
        self.full = False

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
            share = await share_used(self._log)
        except (LogGone, LogRefused):
            return  # nothing can be accepted just now anyway; what was known last holds
        full = share > (TAKE_BELOW if self.full else SHED_ABOVE)
        if full and not self.full:
            telemetry.ALARMS.labels("log_full").inc()
            log.error("log_full", share=round(share, 3), refused_above=SHED_ABOVE)
        elif self.full and not full:
            log.info("log_has_room", share=round(share, 3))
        self.full = full
