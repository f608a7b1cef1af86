"""A TCP proxy that breaks what goes through it: delay, cut, half-close, throttle, silence in one direction.

One rule: it passes bytes on unchanged and in order until it breaks the connection; it never reads what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

READ_BYTES: Final = 65_536
"""One read; also the size of the pieces that a throttled connection is delayed by."""

Direction = Literal["to_server", "to_client"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What happens to one direction of every connection. The default is nothing."""

    delay_s: float = 0.0
    """Before each piece is passed on."""
    bytes_per_s: float = 0.0
    """How fast at most; 0: as fast as it comes."""
    cut_after: int | None = None
    """Break the connection, with a reset, after so many bytes."""
    half_close_after: int | None = None
    """Say the end of this direction after so many bytes; the other goes on."""
    drop: bool = False
    """Bytes vanish and the connection stays, as on a line that lost one direction."""


CLEAN: Final = Rules()


class Proxy:
    """One way in and one way out. The rules may change while connections are open, and hold for the next piece."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._server_port = port
        self.port = 0
        """Where it listens."""
        self.rules: dict[Direction, Rules] = {"to_server": CLEAN, "to_client": CLEAN}
        self.connections = 0
        """How many there have been."""
        self._open: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    def set(self, to_server: Rules = CLEAN, to_client: Rules = CLEAN) -> None:
        """New rules for both directions; without words, none."""
        self.rules = {"to_server": to_server, "to_client": to_client}

    def cut_all(self) -> None:
        """Break every open connection with a reset."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server, to_server = await asyncio.open_connection(self._host, self._server_port)
        except OSError:
            to_client.transport.abort()
            return
        both = (to_client, to_server)
        self._writers.update(both)
        try:
            await asyncio.gather(
                self._pass("to_server", client, to_server, both), self._pass("to_client", server, to_client, both)
            )
        finally:
            self._writers.difference_update(both)
            for writer in both:
                writer.close()

    async def _pass(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        passed = 0
        # Either side may break the connection at any moment, before it is half closed too: that is what this is for.
        with contextlib.suppress(OSError, RuntimeError):
            while piece := await reader.read(READ_BYTES):
                rules = self.rules[direction]
                limit = rules.cut_after if rules.cut_after is not None else rules.half_close_after
                if limit is not None:
                    piece = piece[: max(0, limit - passed)]
                wait_s = rules.delay_s + (len(piece) / rules.bytes_per_s if rules.bytes_per_s else 0.0)
                if wait_s:
                    await asyncio.sleep(wait_s)
                if rules.drop:
                    continue
                writer.write(piece)
                await writer.drain()
                passed += len(piece)
                if limit is not None and passed >= limit:
                    if rules.cut_after is None:
                        break
                    for each in both:
                        each.transport.abort()
                    return
            writer.write_eof()


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port of 127.0.0.1 in front of a server, until the block ends."""
    proxy = Proxy(host, port)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy._serve(reader, writer))
        proxy._open.add(task)
        task.add_done_callback(proxy._open.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        proxy.cut_all()
        for task in list(proxy._open):
            task.cancel()
        await asyncio.gather(*proxy._open, return_exceptions=True)
