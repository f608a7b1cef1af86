"""`/v1/users/me/export`: everything that the account holds, in one zip, made while one does something else.

One rule: who asks again gets the export that is under way, and nobody gets another account's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

import orjson
import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from app.database import Unavailable, borrowed
from app.export import orders
from app.export.orders import Export, ExportUnknown
from app.http.authentication import identify
from app.http.operation import Answer, Operation, Parameter, refusals
from app.http.refusals import Refused
from app.vault import Erased
from app.wiring import WebParts

log = structlog.get_logger()

ASK: Final = "/v1/users/me/export"
FETCH: Final = "/v1/users/me/exports/{id}"
GROUP: Final = "Account"

LOOK_AGAIN_S: Final = 2


class ExportView(BaseModel):
    """How an export stands."""

    object: Literal["export"] = "export"
    id: str
    status: Literal["queued", "running", "ready", "failed"]
    asked_at: str
    ready_at: str | None
    expires_at: str
    """Until when it can be fetched."""
    bytes: int | None
    sha256: str | None


class Exports:
    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        return [Route(ASK, self.ask, methods=["GET"]), Route(FETCH, self.fetch, methods=["GET"])]

    async def ask(self, request: Request) -> Response:
        """Begin one, or show the one that is under way."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        try:
            async with borrowed(self._parts.pool) as connection:
                export = await orders.order(connection, identity.account, by=identity.by)
        except Unavailable:
            raise _unavailable() from None
        log.info("export_asked", account=identity.account, export=export.id, by=identity.by)
        return _view(export, 202)

    async def fetch(self, request: Request) -> Response:
        """The zip when it is ready; until then how it stands."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        try:
            async with borrowed(self._parts.pool) as connection:
                export = await orders.find(connection, identity.account, request.path_params["id"])
            if export.status != "ready":
                return _view(export, 202 if export.status != "failed" else 200)
            box = await self._parts.vault.box(identity.account)
        except (ExportUnknown, Erased):
            raise Refused(404, "export_not_found", "There is no such export, or it is over.") from None
        except Unavailable:
            raise _unavailable() from None
        headers = {
            "cache-control": "no-store",
            "content-length": str(export.bytes),
            "content-disposition": f'attachment; filename="helix-export-{export.asked_at:%Y-%m-%d}.zip"',
        }
        log.info("export_fetched", account=identity.account, export=export.id, by=identity.by)
        return StreamingResponse(orders.pieces(self._parts.pool, box, export), 200, headers, "application/zip")


def _view(export: Export, status: int) -> Response:
    view = ExportView(
        id=export.id,
        status=export.status,
        asked_at=_time(export.asked_at),
        ready_at=None if export.ready_at is None else _time(export.ready_at),
        expires_at=_time(export.expires_at),
        bytes=export.bytes,
        sha256=export.sha256,
    )
    headers = {"cache-control": "no-store", "location": FETCH.replace("{id}", export.id)}
    if export.status in ("queued", "running"):
        headers["retry-after"] = str(LOOK_AGAIN_S)
    return Response(orjson.dumps(view.model_dump()), status, headers, "application/json")


def _unavailable() -> Refused:
    return Refused(503, "database_unavailable", "This cannot be done just now; try again.")


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


OPERATIONS: Final = (
    Operation(
        "GET",
        ASK,
        GROUP,
        "Export your data",
        "Begins an export of everything the account holds, its words opened; who asks again meanwhile gets the same. Fetch"
        " it from `Location` when it is ready.",
        {202: Answer("It is being made.", ExportView)} | refusals(401, 403, 429, 503),
        action="account.export",
    ),
    Operation(
        "GET",
        FETCH,
        GROUP,
        "Fetch an export",
        "A zip with one JSON file for each kind of thing and a page for people, for seven days.",
        {
            200: Answer("The zip; or, of one that failed, how it stands.", media="application/zip"),
            202: Answer("It is still being made.", ExportView),
        }
        | refusals(401, 403, 404, 429, 503),
        (Parameter("id", "path", "The id of the export."),),
        action="account.export",
    ),
)
