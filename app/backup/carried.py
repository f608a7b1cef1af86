"""The part of the log that a backup carries: a line for each thing, in a compressed file of JSON lines.

One rule: what is read later may contain what was read earlier, never lack it. So commands are read before events, and a
command whose end is among the events is left out when it is put back.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from app.log import Log, keys
from events.catalog import Unreadable, read
from projections.projection import order

PAGE: Final = 500

Kind = Literal["command", "event", "parked", "request"]


class Line(BaseModel):
    """One entry of a stream, or the fields of an open request. Values are base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    partition: int
    id: str
    fields: tuple[tuple[str, str], ...]

    def words(self) -> list[bytes]:
        """Names and values in turn, as the server takes them."""
        return [part for name, value in self.fields for part in (name.encode(), base64.b64decode(value))]

    def value(self, name: str) -> bytes:
        return next((base64.b64decode(value) for key, value in self.fields if key == name), b"")

    def subject(self) -> tuple[str, str]:
        """(account, request) of a command or event; empty when it cannot be read."""
        try:
            said = read(self.value("__data__"))
        except Unreadable:
            return "", ""
        return said.account, said.subject


def line(kind: Kind, partition: int, id: str, flat: Sequence[bytes]) -> Line:
    fields = [
        (name.decode(), base64.b64encode(value).decode()) for name, value in zip(flat[::2], flat[1::2], strict=True)
    ]
    return Line(kind=kind, partition=partition, id=id, fields=tuple(fields))


async def commands(log: Log, partition: int) -> AsyncIterator[Line]:
    """What is waiting or under way, each with what the log server knows of its request."""
    async for one in _stream(log, "command", partition, keys.commands(partition), "-"):
        yield one
        _, request = one.subject()
        if request and (flat := await log.command("HGETALL", keys.request(partition, request))):
            yield line("request", partition, request, flat)


async def events(log: Log, partition: int, behind: str) -> AsyncIterator[Line]:
    """The events behind an entry id."""
    async for one in _stream(log, "event", partition, keys.events(partition), f"({behind}"):
        yield one


async def parked(log: Log, partition: int) -> AsyncIterator[Line]:
    """The dead letters."""
    async for one in _stream(log, "parked", partition, keys.parked(partition), "-"):
        yield one


async def _stream(log: Log, kind: Kind, partition: int, key: str, start: str) -> AsyncIterator[Line]:
    while page := await log.command("XRANGE", key, start, "+", "COUNT", PAGE):
        for entry, flat in page:
            yield line(kind, partition, entry.decode(), flat)
        start = f"({page[-1][0].decode()}"


class Writer:
    """Writes lines; counts them by kind."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.open(path, "wt", compresslevel=1)  # noqa: SIM115  # closed by `close`
        self.counts: dict[Kind, int] = {"command": 0, "event": 0, "parked": 0, "request": 0}

    def write(self, one: Line) -> None:
        self._file.write(one.model_dump_json() + "\n")
        self.counts[one.kind] += 1

    def close(self) -> None:
        self._file.close()


def lines(path: Path) -> Iterator[Line]:
    """Every line of the file, one in memory."""
    with gzip.open(path, "rt") as file:
        for text in file:
            yield Line.model_validate(json.loads(text))


def ended(path: Path) -> set[str]:
    """The requests whose end is among the events of the file."""
    return {one.subject()[1] for one in lines(path) if one.kind == "event"}


async def put_back(log: Log, one: Line) -> None:
    """Write one line to an empty log, under its own id."""
    if one.kind == "request":
        # Nobody works on it here.
        words = [word for name, value in _pairs(one) if name not in (b"attempt", b"worker") for word in (name, value)]
        await log.command("HSET", keys.request(one.partition, one.id), *words, "state", "queued")
        account = one.value("account").decode()
        accepted_ms = order(one.value("command").decode())[0]
        await log.command("ZADD", keys.open_requests(one.partition, account), accepted_ms, one.id)
        return
    key = {"command": keys.commands, "event": keys.events, "parked": keys.parked}[one.kind](one.partition)
    await log.command("XADD", key, one.id, *one.words())


def _pairs(one: Line) -> list[tuple[bytes, bytes]]:
    flat = one.words()
    return list(zip(flat[::2], flat[1::2], strict=True))
