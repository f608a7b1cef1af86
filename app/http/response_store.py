"""What is known of a kept response, wherever it lies just now: on the log while it runs and for an hour after, then in
the projection.

One rule: a response that was not to be kept, that was deleted, or that is another account's, is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

import orjson
from sqlalchemy.exc import DBAPIError

from app.database import Unavailable
from app.http.admitting import KEPT
from app.http.delivery import ended
from app.http.earlier import logged
from app.http.refusals import Refused
from app.http.response_objects import Json, failed, finished, unfinished
from app.log.values import ENDED, Standing
from app.vault import Erased
from app.wiring import WebParts
from events.catalog import read
from events.completions import Complete
from events.message import sealed_bytes
from handlers.ports import Box
from projections import responses as read_model

CHAIN_MAX: Final = 1000
"""Responses that one may go on from, one after the other; the size of the whole input ends most chains before."""

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """One response, as its account may see it."""

    request: str
    previous: str | None
    """The request whose response it goes on from."""
    question: Json = field(repr=False)
    """The body as the client sent it."""
    view: Json = field(repr=False)
    """The response object as it stands."""

    @property
    def running(self) -> bool:
        return self.view["status"] in ("queued", "in_progress")


class ResponseStore:
    """The kept responses of every account, read-only."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    async def find(self, account: str, request: str) -> KeptResponse | None:
        """One response. Raises Refused 503 when it cannot be read just now."""
        found = await self._on_log(account, request)
        if found is not None:
            return found
        rows = await self._remembered(account, request, most=1)
        return rows[0] if rows else None

    async def chain(self, account: str, request: str) -> list[KeptResponse]:
        """A response and all that it goes on from, oldest first; empty when one of them is not known.

        Raises Refused 503 when they cannot be read just now.
        """
        newest_first: list[KeptResponse] = []
        wanted: str | None = request
        while wanted is not None and len(newest_first) < CHAIN_MAX:
            links = await self._remembered(account, wanted, most=CHAIN_MAX)
            if not links:  # too young for the projection
                link = await self._on_log(account, wanted)
                links = [link] if link else []
            if not links:
                return []
            newest_first += links
            wanted = links[-1].previous
        return newest_first[::-1]

    async def _on_log(self, account: str, request: str) -> KeptResponse | None:
        log = self._parts.log
        standing = await logged(log.standing(account, request))
        if standing is None:
            return None
        if standing.state not in ENDED:
            if not standing.fields.get(KEPT):
                return None
            raw = await logged(log.asked(standing))
            if raw is not None:
                return await self._open(standing, raw)
        end = await logged(ended(log, account, request))
        box = await self._box(account)
        if end is None or end.kept is None or not read_model.is_kept(end) or box is None:
            return None
        kept, answer = sealed_bytes(end.kept), sealed_bytes(end.answer)
        row = read_model.ResponseRow(request, end.previous, end.outcome, end.http_status, kept, answer)
        return _ended(box, row)

    async def _open(self, standing: Standing, raw: bytes) -> KeptResponse | None:
        """A response that has not ended: what was asked is in its command."""
        ask, box = read(raw).body, await self._box(standing.account)
        if not isinstance(ask, Complete) or ask.kept is None or box is None:
            return None
        question = orjson.loads(box.open("question", standing.request, sealed_bytes(ask.kept)))
        status = unfinished(standing.request, question, "queued" if standing.state == "queued" else "in_progress")
        return KeptResponse(standing.request, ask.previous, question, status)

    async def _remembered(self, account: str, request: str, *, most: int) -> list[KeptResponse]:
        """From the projection, newest first."""
        if await logged(self._parts.log.is_deleted(account, request)):
            return []
        try:
            async with self._parts.database.connect() as connection:
                rows = await read_model.chain(connection, account, request, most=most)
        except (OSError, DBAPIError):
            raise Refused(503, "database_unavailable", "The response cannot be read just now; try again.") from None
        box = await self._box(account) if rows else None
        if box is None:
            return []
        return [_ended(box, row) for row in rows]

    async def _box(self, account: str) -> Box | None:
        """The account's box; None when its content has been erased."""
        try:
            return self._parts.vault.cached(account) or await self._parts.vault.box(account)
        except Erased:
            return None
        except Unavailable:
            raise Refused(503, "identity_unavailable", "The account's key cannot be had just now.") from None


def _ended(box: Box, row: read_model.ResponseRow) -> KeptResponse:
    question: Json = orjson.loads(box.open("question", row.id, row.kept))
    told = box.open("answer", row.id, row.answer)
    match row.status:
        case "completed":
            view = finished(told, question)
        case "cancelled":
            view = unfinished(row.id, question, "cancelled")
        case "failed":
            view = failed(row.id, question, told, row.http_status)
    return KeptResponse(row.id, row.previous, question, view)
