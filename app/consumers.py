"""Consumers that are gone for good are forgotten: a name a machine that will never come back, for ever, would add up.

One rule: who has anything pending stays, however long it has been silent; its entries are taken over first.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from app.log import Log, LogGone
from app.log.connection import LogRefused

log = structlog.get_logger()

GONE_S: Final = 3600.0
"""A worker that lives asks every two seconds; one that was away for an hour is made anew by its next read."""

EVERY_S: Final = 600.0
"""Nothing presses: a forgotten name costs some hundred bytes."""


async def dismiss_always(of: Log) -> None:
    """Forget who is gone, until cancelled."""
    while True:
        for partition in range(of.partitions):
            try:
                for name in await of.dismiss(partition, idle_ms=int(GONE_S * 1000)):
                    log.info("consumer_dismissed", partition=partition, consumer=name)
            except LogGone:
                pass  # the next round comes in time
            except LogRefused as refused:
                log.error("dismissal_refused", partition=partition, reason=str(refused)[:100])
        await asyncio.sleep(EVERY_S)
