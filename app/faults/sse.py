"""Server-sent events as a client reads them. One rule: an event counts when its blank line has come, and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import StreamReader


@dataclass(frozen=True, slots=True)
class ServerSent:
    """One event."""

    id: str
    name: str
    data: str


async def events_of(content: StreamReader) -> AsyncIterator[ServerSent]:
    """The events of one connection; comments are none. Raises what the connection breaks with."""
    id, name = "", "message"
    data: list[str] = []
    async for raw in content:
        line = raw.decode().rstrip("\r\n")
        field, _, value = line.partition(": ")
        if not line:
            if data:
                yield ServerSent(id, name, "\n".join(data))
            id, name, data = "", "message", []
        elif field == "id":
            id = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
