"""What the bare parts can do here: an echo over HTTP, an append to the log server, a COPY into Postgres.

One rule: the floors stand on the very servers that Helix uses in this run, with their settings and their disk, so that
a ratio to them says what Helix itself adds.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import asyncpg
import hiredis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_ENTRY_BYTES: Final = 1200
"""About what a finished completion weighs on the log."""

_PIPELINE: Final = 100
"""Commands in one write, as many as one turn of a busy worker's loop writes."""

_ROWS: Final = 5000
"""Rows in one COPY."""

_KEPT: Final = 5000
"""Entries before the stream is begun anew, lest the floor be seen in the memory of the log."""

_KEY: Final = "helix-bench:floor"

_ANSWER: Final = b'{"choices":[{"message":{"role":"assistant","content":"' + b"lorem " * 16 + b'"}}]}'


async def _echo(request: Request) -> Response:
    await request.body()
    return Response(_ANSWER, media_type="application/json")


echo = Starlette(routes=[Route("/v1/chat/completions", _echo, methods=["POST"])])
"""The HTTP floor: reads the question, answers sixteen words. Served as `app.bench.floors:echo`."""


Command = tuple[str | bytes | int, ...]


class Log:
    """A blocking connection to the log server, with nothing between: what is measured is the server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        if parts.password:
            user = (unquote(parts.username),) if parts.username else ()
            self.ask([("AUTH", *user, unquote(parts.password))])

    def ask(self, commands: Sequence[Command]) -> list[object]:
        """Write all commands at once and read all replies. Raises ConnectionError, or the server's own refusal."""
        # hiredis's stub takes a tuple of one for a tuple of any length.
        self._socket.sendall(b"".join(hiredis.pack_command(command) for command in commands))  # type: ignore[arg-type]
        replies: list[object] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ConnectionError("the log server hung up")
                self._reader.feed(data)
            elif isinstance(reply, Exception):
                raise reply
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        self._socket.close()


def xadds_per_second(url: str, *, together: int, seconds: float) -> float:
    """Entries appended per second by one client that writes `together` commands at a time; the stream is removed."""
    log = Log(url)
    try:
        one: Command = ("XADD", _KEY, "*", "__data__", b"x" * _ENTRY_BYTES)
        commands = [one] * together
        remove: list[Command] = [("UNLINK", _KEY)]
        log.ask(commands)
        started, written = perf_counter(), 0
        while (took_s := perf_counter() - started) < seconds:
            log.ask(commands)
            written += together
            if written % _KEPT == 0:
                log.ask(remove)
        log.ask(remove)
        return written / took_s
    finally:
        log.close()


LogFloor = Callable[[str, float], float]
"""(address, seconds) → entries per second."""


def single_xadds_per_second(url: str, seconds: float) -> float:
    return xadds_per_second(url, together=1, seconds=seconds)


def pipelined_xadds_per_second(url: str, seconds: float) -> float:
    return xadds_per_second(url, together=_PIPELINE, seconds=seconds)


async def copied_rows_per_second(database_url: str, copies: int) -> float:
    """Usage-like rows per second of COPY, a commit each 5,000; the table is dropped."""
    connection = await asyncpg.connect(database_url)
    table = f"bench_floor_{uuid4().hex}"
    try:
        await connection.execute(f"CREATE TABLE {table} (LIKE usage INCLUDING DEFAULTS)")
        columns = [
            (row["column_name"], row["data_type"])
            for row in await connection.fetch(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_name = $1 ORDER BY ordinal_position",
                table,
            )
        ]
        one = await connection.fetchrow(f"SELECT {', '.join(map(_sample, (kind for _, kind in columns)))}")
        assert one is not None
        rows = [tuple(one)] * _ROWS
        names = [name for name, _ in columns]
        started = perf_counter()
        for _ in range(copies):
            await connection.copy_records_to_table(table, records=rows, columns=names)
        return copies * _ROWS / (perf_counter() - started)
    finally:
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await connection.close()


def _sample(kind: str) -> str:
    """SQL type → an expression of a likely value."""
    match kind:
        case "uuid":
            return "gen_random_uuid()"
        case "timestamp with time zone":
            return "now()"
        case "numeric":
            return "0.000123456::numeric"
        case "boolean":
            return "false"
        case "text" | "character varying":
            return "'chat/completions'::text"
        case "jsonb":
            return "'{}'::jsonb"
        case "bigint" | "integer" | "smallint":
            return f"1000::{kind}"
        case _:
            raise ValueError(f"usage has a column of type {kind}, and the bench has no value for it")
