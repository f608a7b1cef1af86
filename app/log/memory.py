"""How full the log is. One rule: above its limit a server refuses every write, so the share is told, not the bytes."""

from __future__ import annotations

import asyncio
from typing import Final

from app.log.connection import Connection, LogGone
from app.log.log import Log

UNKNOWN: Final = 0.0
"""Of a server that does not tell its limit nor its machine's memory."""


async def shares_used(log: Log) -> dict[str, float]:
    """Address of each server that holds a partition and can be reached → its used memory as a share of what it may use:
    1.0 is where it refuses to write.

    A server without a limit of its own is held to the memory of its machine. What the server does not count towards
    the limit (buffers of its file and its replicas) is not counted here.
    """
    asked = {url: _share(log.nodes.at(partitions[0])) for url, partitions in log.nodes.groups().items()}
    told = await asyncio.gather(*asked.values(), return_exceptions=True)
    fatal = [one for one in told if isinstance(one, BaseException) and not isinstance(one, LogGone)]
    if fatal:
        raise fatal[0]
    return {url: share for url, share in zip(asked, told, strict=True) if isinstance(share, float)}


async def _share(of: Connection) -> float:
    said: bytes = await of("INFO", "memory")
    facts = dict(line.split(b":", 1) for line in said.splitlines() if b":" in line)
    used = int(facts[b"used_memory"]) - int(facts.get(b"mem_not_counted_for_evict", 0))
    limit = int(facts[b"maxmemory"]) or int(facts.get(b"total_system_memory", 0))
    return used / limit if limit else UNKNOWN
