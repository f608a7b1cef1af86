"""`GET /v1/audit`: what was changed in an account, by whom and when."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.authentication import identify
from app.http.operation import Answer, Operation, Parameter, refusals
from app.http.refusals import Refused
from app.wiring import WebParts
from projections import audit
from projections.audit import Row

PAGE: Final = 20
PAGE_MAX: Final = 100

_ACTION: Final = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40}){1,3}")


class AuditEntry(BaseModel):
    """One change. Ids alone: names and addresses are where they can be erased."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    object: Literal["audit_entry"] = "audit_entry"
    created_at: str
    by: str | None
    """`key:<id>`, `person:<id>` or `operator`; null where nobody wrote it down."""
    action: str
    """What was done, such as `key.revoked`."""
    subject: str
    """On what, by its id."""
    details: dict[str, Any]
    """What the change says of itself, by its kind."""
    number: int
    """Its place in the chain, which `./helix audit verify` checks."""


class AuditList(BaseModel):
    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: Annotated[list[AuditEntry], Field()]
    has_more: bool
    first_id: str | None
    last_id: str | None


OPERATIONS: Final = (
    Operation(
        "GET",
        "/v1/audit",
        "Account",
        "What was changed, and by whom",
        "Every change of the account's keys, members, rights and settings, and every right that was refused, newest first. "
        "Kept for two years.",
        {200: Answer("A page.", AuditList)} | refusals(400, 401, 403, 429, 503),
        (
            Parameter("limit", "query", "How many: 1 to 100, 20 where it is left out.", "integer"),
            Parameter("after", "query", "Those older than this entry."),
            Parameter("action", "query", "Only this kind, such as `key.revoked`."),
        ),
        example="?limit=10",
        action="audit.read",
    ),
)


class Audit:
    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        return [Route("/v1/audit", self.list, methods=["GET"])]

    async def list(self, request: Request) -> Response:
        """A page of the account's own changes."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        limit, after, action = _page(request)
        try:
            async with self._parts.database.connect() as connection:
                found = await audit.page(connection, identity.account, limit=limit + 1, after=after, action=action)
        except (DBAPIError, OSError):
            raise Refused(503, "database_unavailable", "The audit log cannot be read just now; try again.") from None
        if found is None:
            raise Refused(400, "invalid_value", "`after` is the id of an entry.", param="after")
        shown = [_view(row) for row in found[:limit]]
        first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
        page = AuditList(data=shown, has_more=len(found) > limit, first_id=first, last_id=last)
        return Response(
            orjson.dumps(page.model_dump()), media_type="application/json", headers={"cache-control": "no-store"}
        )


def _page(request: Request) -> tuple[int, str | None, str | None]:
    limit, after, action = (request.query_params.get(name) for name in ("limit", "after", "action"))
    if limit is not None and (not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= PAGE_MAX):
        raise Refused(400, "invalid_value", f"`limit` is a number from 1 to {PAGE_MAX}.", param="limit")
    if action is not None and not _ACTION.fullmatch(action):
        raise Refused(400, "invalid_value", "`action` is a kind of change, such as `key.revoked`.", param="action")
    try:
        return int(limit or PAGE), None if after is None else str(UUID(after)), action
    except ValueError:
        raise Refused(400, "invalid_value", "`after` is the id of an entry.", param="after") from None


def _view(row: Row) -> AuditEntry:
    return AuditEntry(
        id=row.event_id,
        created_at=row.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        by=row.by,
        action=row.action,
        subject=row.subject,
        details=orjson.loads(row.details),
        number=row.number,
    )
