"""How full the log server is. One rule: above its limit it refuses every write, so the share is told, not the bytes."""

from __future__ import annotations

from app.log.connection import Connection
from app.log.log import Log


async def share_used(of: Connection | Log) -> float:
    """Used memory as a share of what the server may use: 1.0 is where it refuses to write. Raises LogGone.

    A server without a limit of its own is held to the memory of its machine. What the server does not count towards
    the limit (buffers of its file and its replicas) is not counted here.
    """
    asked = of.command("INFO", "memory") if isinstance(of, Log) else of("INFO", "memory")
    said: bytes = await asked
    facts = dict(line.split(b":", 1) for line in said.splitlines() if b":" in line)
    used = int(facts[b"used_memory"]) - int(facts.get(b"mem_not_counted_for_evict", 0))
    limit = int(facts[b"maxmemory"]) or int(facts.get(b"total_system_memory", 0))
    return used / limit if limit else 0.0
