"""A TCP proxy that breaks what goes through it: delay, cut, half-close, throttle, silence in one direction.

One rule: it passes bytes on unchanged and in order until it breaks the connection; it never reads what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

READ_BYTES: Final = 65_536
"""One read; also the size of the pieces that a throttled connection is delayed by."""

Direction = Literal["to_server", "to_client"]

Who = Callable[[int], str | None]
"""Port of a client's end → who that is, where it can be told."""


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


@dataclass(eq=False, slots=True)
class _Line:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    port: int
    """Of the client's end."""
    who: str | None = None

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """One way in and one way out. The rules may change while connections are open, and hold for the next piece."""

    def __init__(self, host: str, port: int, who: Who = lambda port: None) -> None:
        self._host = host
        self._server_port = port
        self._who = who
        self._only: str | None = None
        self.port = 0
        """Where it listens."""
        self.rules: dict[Direction, Rules] = {"to_server": CLEAN, "to_client": CLEAN}
        self.connections = 0
        """How many there have been."""
        self._open: set[asyncio.Task[None]] = set()
        self._lines: set[_Line] = set()

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    def set(self, to_server: Rules = CLEAN, to_client: Rules = CLEAN, *, only: str | None = None) -> None:
        """New rules for both directions, of one client's connections or of all; without words, none."""
        self.rules = {"to_server": to_server, "to_client": to_client}
        self._only = only

    def cut_all(self, *, only: str | None = None) -> None:
        """Break every open connection, of one client or of all, with a reset."""
        for line in list(self._lines):
            if only is None or self._whose(line) == only:
                line.cut()

    def _whose(self, line: _Line) -> str | None:
        line.who = line.who or self._who(line.port)
        return line.who

    def _rules(self, line: _Line, direction: Direction) -> Rules:
        rules = self.rules[direction]
        if rules is CLEAN or self._only is None or self._whose(line) == self._only:
            return rules
        return CLEAN

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server, to_server = await asyncio.open_connection(self._host, self._server_port)
        except OSError:
            to_client.transport.abort()
            return
        peer = to_client.get_extra_info("peername")  # None where it has left already
        line = _Line(to_client, to_server, peer[1] if peer else 0)
        self._lines.add(line)
        try:
            await asyncio.gather(
                self._pass("to_server", client, to_server, line), self._pass("to_client", server, to_client, line)
            )
        finally:
            self._lines.discard(line)
            for writer in (to_client, to_server):
                writer.close()

    async def _pass(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        line: _Line,
    ) -> None:
        passed = 0
        # Either side may break the connection at any moment, before it is half closed too: that is what this is for.
        with contextlib.suppress(OSError, RuntimeError):
            while piece := await reader.read(READ_BYTES):
                rules = self._rules(line, direction)
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
                    line.cut()
                    return
            writer.write_eof()


@asynccontextmanager
async def proxy_to(host: str, port: int, who: Who = lambda port: None) -> AsyncIterator[Proxy]:
    """A proxy on a free port of 127.0.0.1 in front of a server, until the block ends."""
    proxy = Proxy(host, port, who)

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
