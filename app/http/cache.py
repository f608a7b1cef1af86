"""`/v1/cache`: an account forgets what is kept of its answers, and sees what that has saved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.answers import CacheAway
from app.http.authentication import identify
from app.http.delivery import usd
from app.http.refusals import Refused
from app.wiring import WebParts
from projections.savings import savings

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 366


class Cache:
    """The routes below `/v1/cache`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        return [
            Route("/v1/cache", self.forget, methods=["DELETE"]),
            Route("/v1/cache/stats", self.stats, methods=["GET"]),
        ]

    async def forget(self, request: Request) -> Response:
        """From now on no kept answer of the account is given any more."""
        account = await self._account(request)
        try:
            await self._parts.answers.forget(account)
        except CacheAway:
            raise Refused(503, "cache_unavailable", "The cache cannot be reached just now; try again.") from None
        return _json({"object": "cache", "deleted": True})

    async def stats(self, request: Request) -> Response:
        """How often an answer was given again, and what that has saved."""
        account = await self._account(request)
        since = datetime.now(UTC) - timedelta(days=days_in(request))
        try:
            async with self._parts.database.connect() as connection:
                found = await savings(connection, account, since)
        except (OSError, DBAPIError):
            raise Refused(503, "database_unavailable", "This cannot be read just now; try again.") from None
        return _json(
            {
                "object": "cache.stats",
                "since": since.isoformat(),
                "requests": found.requests,
                "hits": found.hits,
                "saved": {"usd": usd(found.saved_nanousd), "nanousd": found.saved_nanousd},
            }
        )

    async def _account(self, request: Request) -> str:
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        return identity.account


def days_in(request: Request) -> int:
    """How many days back the client wants to look."""
    text = request.query_params.get("days")
    if text is None:
        return DAYS_DEFAULT
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= DAYS_MAX:
        return int(text)
    raise Refused(400, "invalid_value", f"`days` is a number from 1 to {DAYS_MAX}.", param="days")


def _json(document: dict[str, object]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
