"""Writes an export: a zip with one JSON file a table and one page for people.

One rule: it is read in one snapshot and written in pieces as it goes, so that neither a large account nor a slow reader
costs memory; and a try that is overtaken by another leaves nothing that is mixed with it.
"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from app.database import Connection
from app.erasure.places import TOLD, Place
from app.export.orders import KIND, place
from app.export.page import Page, written
from app.vault import Box, VaultRefused

if TYPE_CHECKING:
    from typing_extensions import Buffer

PIECE_BYTES: Final = 512 * 1024
ROWS: Final = 50
"""Fetched at once; with the largest answers that are kept, 25 MB."""

LEASE_S: Final = 60.0
"""A try that has not written for so long is dead."""

PAGE_MESSAGES_MAX: Final = 2000
"""On the page for people; all of them are in the files."""

Row = dict[str, Any]
"""A row of any table, as JSON has it."""


class Overtaken(Exception):
    """Another process makes this export now, or nobody wants it any more."""


class _Sink(io.RawIOBase):
    """What the zip is written into: no file, but bytes that leave as soon as there are enough of them."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        before = len(self.waiting)
        self.waiting += data
        return len(self.waiting) - before


class Making:
    """One try at one export. `reading` is in a snapshot, `writing` is another connection."""

    def __init__(self, reading: Connection, writing: Connection, box: Box, account: str, id: str, attempt: int) -> None:
        self._reading = reading
        self._writing = writing
        self._box = box
        self._account = account
        self._id = id
        self._attempt = attempt
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w")
        self._digest = sha256()
        self._bytes = 0
        self._number = 0
        self._unopened = 0

    async def run(self) -> None:
        """Raises Overtaken; and what Postgres raises."""
        counts = {told.table: await self._table(told) for told in TOLD}
        page = Page(self._account, await self._few("users"), await self._few("api_keys"), counts, self._unopened)
        await self._entry("index.html", written(page, self._messages()))
        self._zip.close()
        await self._flush(whole=True)
        done = await self._writing.execute(
            """UPDATE exports SET status = 'ready', ready_at = now(), bytes = $3, sha256 = $4, made_in = tries,
            lease_until = NULL WHERE id = $1 AND tries = $2 AND status = 'running'""",
            UUID(self._id),
            self._attempt,
            self._bytes,
            self._digest.hexdigest(),
        )
        if done != "UPDATE 1":
            raise Overtaken

    async def _table(self, told: Place) -> int:
        """One file → how many rows are in it."""
        rows = 0

        async def lines() -> AsyncIterator[bytes]:
            nonlocal rows
            async for row in self._rows(told):
                yield (b",\n" if rows else b"[\n") + orjson.dumps(row)
                rows += 1
            yield b"\n]\n" if rows else b"[]\n"

        await self._entry(f"{told.table}.json", lines())
        return rows

    async def _rows(self, told: Place, newest: int | None = None) -> AsyncIterator[Row]:
        sealed = [name for name, _ in told.sealed]
        columns = "".join(f", t.{name} AS {name}" for name in sealed)
        turned = (
            f"{', '.join(f'{name} DESC' for name in told.order.split(', '))} LIMIT {newest}" if newest else told.order
        )
        query = f"""SELECT to_jsonb(t) - $2::text[] AS row{columns} FROM {told.table} AS t
        WHERE {told.whose} ORDER BY {turned}"""  # noqa: S608  # names of ours
        async for found in self._reading.cursor(query, UUID(self._account), [*told.secret, *sealed], prefetch=ROWS):
            row: Row = json.loads(found["row"])
            for name, opening in told.sealed:
                row[name] = self._opened(found[name], opening.kind, str(row[opening.id]))
            yield row

    def _opened(self, sealed: bytes | None, kind: str, id: str) -> object:
        """What was said: as JSON where it is, else as text; None where there is nothing, or it cannot be opened."""
        if not sealed:
            return None
        try:
            content = self._box.open(kind, id, sealed)
        except VaultRefused:
            self._unopened += 1
            return None
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            return content.decode(errors="replace")

    async def _few(self, table: str) -> Sequence[Row]:
        """The rows of a table that are few by their nature."""
        [told] = [one for one in TOLD if one.table == table]
        return [row async for row in self._rows(told)]

    async def _messages(self) -> AsyncIterator[Row]:
        [told] = [one for one in TOLD if one.table == "conversation_messages"]
        async for row in self._rows(told, PAGE_MESSAGES_MAX):
            yield row

    async def _entry(self, name: str, content: AsyncIterator[bytes]) -> None:
        about = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        about.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(about, "w", force_zip64=True) as entry:
            waiting = bytearray()
            async for part in content:
                waiting += part
                if len(waiting) >= PIECE_BYTES:
                    await asyncio.to_thread(entry.write, bytes(waiting))
                    waiting.clear()
                    await self._flush()
            await asyncio.to_thread(entry.write, bytes(waiting))
        await self._flush()

    async def _flush(self, *, whole: bool = False) -> None:
        """Write down what makes a piece; at the end the rest too."""
        waiting = self._sink.waiting
        while len(waiting) >= PIECE_BYTES or (whole and waiting):
            piece = bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
            sealed = self._box.seal(KIND, place(self._id, self._attempt, self._number), piece)
            async with self._writing.transaction():
                await self._renew()
                await self._writing.execute(
                    "INSERT INTO export_pieces VALUES ($1, $2, $3, $4)",
                    UUID(self._id),
                    self._attempt,
                    self._number,
                    sealed,
                )
            self._digest.update(piece)
            self._bytes += len(piece)
            self._number += 1

    async def _renew(self) -> None:
        said = await self._writing.execute(
            """UPDATE exports SET lease_until = now() + make_interval(secs => $3)
            WHERE id = $1 AND tries = $2 AND status = 'running'""",
            UUID(self._id),
            self._attempt,
            LEASE_S,
        )
        if said != "UPDATE 1":
            raise Overtaken
