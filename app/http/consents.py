"""`/v1/users/me/consents`: what a person has agreed to, and agreeing to the version of today.

One rule: nobody agrees to a text that is not the one that stands on our page now.
"""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import consents
from app.database import Unavailable, borrowed
from app.http import pages
from app.http.authentication import identify
from app.http.operation import Answer, Operation, refusals
from app.http.refusals import Refused
from app.http.shaped_body import shaped_body
from app.http.shapes import Shaped
from app.wiring import WebParts

PATH: Final = "/v1/users/me/consents"


class ConsentBody(Shaped):
    """What is agreed to."""

    model_config = ConfigDict(extra="forbid")

    document: Literal["terms", "privacy", "dpa"]
    version: Annotated[str, Field(min_length=1, max_length=32)]
    """As its page names it, below the text."""


class ConsentView(BaseModel):
    document: Literal["terms", "privacy", "dpa"]
    version: str
    given_at: str


class ConsentList(BaseModel):
    """What has been agreed to, oldest first, and the versions of today."""

    object: Literal["list"] = "list"
    data: list[ConsentView]
    current: dict[Literal["terms", "privacy", "dpa"], str]
    """Document → version."""


class Consents:
    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._versions = {name: page.version for name, page in pages.load(parts.settings.helix_pages).items()}

    def routes(self) -> list[Route]:
        return [Route(PATH, self.list, methods=["GET"]), Route(PATH, self.give, methods=["POST"])]

    async def list(self, request: Request) -> Response:
        person, _ = await self._person(request)
        return await self._shown(person)

    async def give(self, request: Request) -> Response:
        person, by = await self._person(request)
        body = await shaped_body(ConsentBody, request)
        if body.version != self._versions[body.document]:
            current = self._versions[body.document]
            raise Refused(409, "other_version", f"The version of today is `{current}`.", param="version")
        try:
            async with borrowed(self._parts.pool) as connection:
                await consents.give(connection, person, body.document, body.version, by=by)
        except Unavailable:
            raise _unavailable() from None
        return await self._shown(person)

    async def _person(self, request: Request) -> tuple[str, str]:
        """→ the person, and by whom as facts say it."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        if identity.person is None:
            raise Refused(404, "person_not_found", "Behind a team's key there is no person.")
        return identity.person, identity.by

    async def _shown(self, person: str) -> Response:
        try:
            async with borrowed(self._parts.pool) as connection:
                found = await consents.given(connection, person)
        except Unavailable:
            raise _unavailable() from None
        data = [
            ConsentView(
                document=one.document,
                version=one.version,
                given_at=one.given_at.astimezone(UTC).isoformat(timespec="seconds"),
            )
            for one in found
        ]
        current = {name: version for name, version in self._versions.items() if name != "cookies"}
        body = orjson.dumps(ConsentList(data=data, current=current).model_dump())
        return Response(body, 200, {"cache-control": "no-store"}, "application/json")


def _unavailable() -> Refused:
    return Refused(503, "database_unavailable", "This cannot be done just now; try again.")


OPERATIONS: Final = (
    Operation(
        "GET",
        PATH,
        "Account",
        "What you have agreed to",
        "Terms, privacy policy and data-processing agreement by version, and which versions hold today.",
        {200: Answer("All of it.", ConsentList)} | refusals(401, 403, 404, 429, 503),
        action="self.read",
    ),
    Operation(
        "POST",
        PATH,
        "Account",
        "Agree",
        "To the version that stands on the page now. It is written down with its time, and never changed.",
        {200: Answer("All that has been agreed to.", ConsentList)} | refusals(400, 401, 403, 404, 409, 429, 503),
        body=ConsentBody,
        example='{"document": "terms", "version": "2026-11-23"}',
        action="self.write",
    ),
)
