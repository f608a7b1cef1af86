"""`/v1/routing`: what an account wants of the router: names of its own, fallbacks, whom to ask and whom never."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import orjson
import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import routing_policies
from app.changes import Change, ChannelDown, tell
from app.database import Unavailable, borrowed
from app.http.authentication import identify
from app.http.json_body import parse_object, read_body
from app.http.refusals import Refused
from app.http.shapes import refuse_invalid
from app.identity import Identity
from app.wiring import WebParts
from handlers.rules.catalogue import Catalogue
from handlers.rules.policy import AccountPolicy

log = structlog.get_logger()

BODY_BYTES_MAX: Final = 256 * 1024
"""All that the bounds of a policy allow, and no more: it is read anew whenever a key is looked up."""


class RoutingPolicies:
    """The routes below `/v1/routing`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        path = "/v1/routing"
        return [
            Route(path, self.show, methods=["GET"]),
            Route(path, self.replace, methods=["PUT"]),
            Route(path, self.remove, methods=["DELETE"]),
        ]

    async def show(self, request: Request) -> Response:
        """The policy as it stands; an empty one where the account has written none."""
        account = (await self._identity(request)).account
        try:
            async with borrowed(self._parts.pool) as connection:
                found = await routing_policies.find(connection, account)
        except Unavailable:
            raise _unavailable() from None
        return _json(*(found or (AccountPolicy(), None)))

    async def replace(self, request: Request) -> Response:
        """Write the whole policy anew; it holds for requests that come from now on."""
        identity = await self._identity(request)
        account = identity.account
        raw = await read_body(request.receive, BODY_BYTES_MAX)
        parse_object(raw)  # refuses what is no object, too deep, or holds a NUL, which Postgres cannot keep
        policy = _policy(raw, self._parts.catalogue_of(identity))
        try:
            async with borrowed(self._parts.pool) as connection:
                written = await routing_policies.put(connection, account, policy, by=identity.by)
        except Unavailable:
            raise _unavailable() from None
        await self._tell(account)
        return _json(policy, written)

    async def remove(self, request: Request) -> Response:
        """From now on the account has no wishes."""
        identity = await self._identity(request)
        account = identity.account
        try:
            async with borrowed(self._parts.pool) as connection:
                await routing_policies.remove(connection, account, by=identity.by)
        except Unavailable:
            raise _unavailable() from None
        await self._tell(account)
        return Response(orjson.dumps({"object": "routing_policy", "deleted": True}), media_type="application/json")

    async def _identity(self, request: Request) -> Identity:
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        return identity

    async def _tell(self, account: str) -> None:
        """Every process forgets what it remembered; this one at once."""
        change = Change("account", account)
        self._parts.identities.forget(change)
        try:
            await tell(self._parts.settings.cache, change)
        except ChannelDown:
            log.warning("routing_change_not_told", account=account)  # the others find it within a minute


def _policy(raw: bytes, catalogue: Catalogue) -> AccountPolicy:
    """Raises Refused 400 for a shape that makes no sense, and for a model or provider that there is not."""
    try:
        policy = AccountPolicy.model_validate_json(raw, strict=True)
    except ValidationError as invalid:
        raise refuse_invalid(invalid) from None
    missing = [name for name in sorted(policy.models()) if not catalogue.find(name)]
    providers = {offer.provider for offer in catalogue}
    _refuse_unknown("model", missing, "aliases" if set(missing) & set(policy.aliases.values()) else "fallbacks")
    _refuse_unknown("provider", sorted(set(policy.only) - providers), "only")
    _refuse_unknown("provider", sorted(set(policy.never) - providers), "never")
    return policy


def _refuse_unknown(kind: str, names: Iterable[str], param: str) -> None:
    for name in names:
        raise Refused(400, f"{kind}_not_found", f"There is no {kind} `{name[:100]}`.", param=param)


def _unavailable() -> Refused:
    return Refused(503, "database_unavailable", "The routing policy cannot be reached just now; try again.")


def _json(policy: AccountPolicy, updated_at: datetime | None) -> Response:
    said = policy.model_dump(mode="json") | {"updated_at": updated_at.isoformat() if updated_at else None}
    return Response(orjson.dumps({"object": "routing_policy"} | said), media_type="application/json")
