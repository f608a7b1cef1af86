"""`/v1/api-keys`: an account's keys, in the hands of who holds one with the scope `keys`.

One rule: a plain key is in one answer, the one that it was made by, and that answer is kept by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import own_keys
from app.api_keys import new_key
from app.changes import Change, ChannelDown, tell
from app.database import Unavailable, borrowed
from app.http.authentication import identify
from app.http.key_shapes import KeyChange, KeyCreate, KeyList, KeyRotate, KeyView, NewKeyView
from app.http.refusals import Refused
from app.http.shaped_body import shaped_body
from app.identity import Identity
from app.own_keys import KeyEnded, KeyRefused, KeyUnknown, MakerEnded, OwnKey, RightLacking
from app.teams.standing import RoleLacking
from app.wiring import WebParts
from handlers.rules.key_rights import Rights
from handlers.rules.roles import Role

log = structlog.get_logger()

TEAM_KEY_ROLE: Final = "developer"
"""What a team's own key is where nobody says: it may ask, and manage nothing."""

PAGE: Final = 20
PAGE_MAX: Final = 100


class ApiKeys:
    """The routes below `/v1/api-keys`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        path, one = "/v1/api-keys", "/v1/api-keys/{id}"
        return [
            Route(path, self.create, methods=["POST"]),
            Route(path, self.list, methods=["GET"]),
            Route(one, self.show, methods=["GET"]),
            Route(one, self.change, methods=["PATCH"]),
            Route(one, self.revoke, methods=["DELETE"]),
            Route(f"{one}/rotate", self.rotate, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """A new key; what is left out is as with the key that asks."""
        maker = await self._maker(request)
        body = await shaped_body(KeyCreate, request)
        said = body.model_fields_set
        rights = Rights(
            own_keys.default_scopes(maker) if body.scopes is None else frozenset(body.scopes),
            (None if body.models is None else frozenset(body.models)) if "models" in said else maker.models,
            body.allowed_ips if "allowed_ips" in said else maker.allowed_ips,
            body.expires_at if "expires_at" in said else maker.expires_at,
            body.allowed_origins if "allowed_origins" in said else maker.allowed_origins,
        )
        self._known_models(maker, rights)
        key = new_key()
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                made = await own_keys.make(
                    connection,
                    maker,
                    key,
                    body.name,
                    rights,
                    _team_role(maker, body),
                    own_rate_limit=body.rate_limit,
                )
        log.info("key_made", account=maker.account, api_key_id=made.id, by=maker.api_key_id)
        return _json(_new(made, key), 201)

    async def list(self, request: Request) -> Response:
        """The account's keys, newest first."""
        maker = await self._maker(request)
        limit, after = _page(request)
        try:
            with _worded():
                async with borrowed(self._parts.pool) as connection:
                    found = await own_keys.page(connection, maker.account, limit=limit + 1, after=after)
        except Refused as refused:
            if refused.status != 404:
                raise
            raise Refused(400, "invalid_value", "`after` is the id of a key.", param="after") from None
        shown = [_view(each) for each in found[:limit]]
        first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
        return _json(KeyList(data=shown, has_more=len(found) > limit, first_id=first, last_id=last))

    async def show(self, request: Request) -> Response:
        maker = await self._maker(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                return _json(_view(await own_keys.find(connection, maker.account, request.path_params["id"])))

    async def change(self, request: Request) -> Response:
        """Write some fields anew; every process hears of it."""
        maker = await self._maker(request)
        body = await shaped_body(KeyChange, request)
        models = None if body.models is None else frozenset(body.models)
        rights = Rights(frozenset(body.scopes), models, body.allowed_ips, body.expires_at, body.allowed_origins)
        self._known_models(maker, rights)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                changed = await own_keys.change(
                    connection,
                    maker,
                    request.path_params["id"],
                    name=body.name,
                    rights=rights,
                    own_rate_limit=body.rate_limit,
                    fields=frozenset(body.model_fields_set),
                )
        await self._tell(changed)
        log.info("key_changed", account=maker.account, api_key_id=changed.id, by=maker.api_key_id)
        return _json(_view(changed))

    async def revoke(self, request: Request) -> Response:
        """From now on it opens nothing. A key may revoke itself, and one that can do more."""
        maker = await self._maker(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                revoked = await own_keys.revoke(connection, maker, request.path_params["id"])
        await self._tell(revoked)
        log.info("key_revoked", account=maker.account, api_key_id=revoked.id, by=maker.api_key_id)
        return _json(_view(revoked))

    async def rotate(self, request: Request) -> Response:
        """A new key in the old one's place."""
        maker = await self._maker(request)
        body = await shaped_body(KeyRotate, request)
        key = new_key()
        grace = timedelta(seconds=body.grace_s)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                old, made = await own_keys.rotate(connection, maker, request.path_params["id"], key, grace)
        await self._tell(old)
        log.info("key_rotated", account=maker.account, api_key_id=old.id, to=made.id, by=maker.api_key_id)
        return _json(_new(made, key), 201)

    async def _maker(self, request: Request) -> Identity:
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        return identity

    def _known_models(self, maker: Identity, rights: Rights) -> None:
        """A name that nobody offers is a slip of the pen. An account's own aliases are none: they may come to mean anything."""
        for name in sorted(rights.models or ()):
            if not self._parts.catalogue_of(maker).find(name):
                raise Refused(400, "model_not_found", f"There is no model `{name[:100]}`.", param="models")

    async def _tell(self, key: OwnKey) -> None:
        """Every process forgets what it remembered; this one at once."""
        change = Change("key", key.key_hash)
        self._parts.identities.forget(change)
        try:
            await tell(self._parts.settings.cache, change)
        except ChannelDown:
            log.warning("key_change_not_told", api_key_id=key.id)  # the others find it within a minute


@contextmanager
def _worded() -> Iterator[None]:
    """What may go wrong with keys, in the client's words."""
    try:
        yield
    except KeyUnknown:
        raise Refused(404, "api_key_not_found", "There is no such API key.") from None
    except KeyEnded:
        raise Refused(
            409, "api_key_ended", "This key is revoked, expired or rotated; it is not changed any more."
        ) from None
    except KeyRefused as refused:
        raise Refused(400, "invalid_value", str(refused), param=refused.field) from None
    except RightLacking as lacking:
        message = f"The key that asks for this has not got such a right itself: `{lacking.field}`."
        raise Refused(403, "right_lacking", message, param=lacking.field) from None
    except RoleLacking as lacking_role:
        raise Refused(
            403, "role_missing", f"Your role in this account does not allow this: `{lacking_role}`."
        ) from None
    except MakerEnded:
        raise Refused(401, "invalid_api_key", "This API key is not valid.") from None
    except Unavailable:
        raise Refused(503, "database_unavailable", "Keys cannot be reached just now; try again.") from None


def _team_role(maker: Identity, body: KeyCreate) -> Role | None:
    """None: the key is to be the maker's own."""
    owner = body.owner or ("person" if maker.person is not None else "team")
    if owner == "team":
        return body.role or TEAM_KEY_ROLE
    if body.role is not None:
        raise Refused(400, "invalid_value", "Only a team's own key is given a role; a person has one.", param="role")
    return None


def _page(request: Request) -> tuple[int, str | None]:
    limit = request.query_params.get("limit", str(PAGE))
    if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= PAGE_MAX:
        raise Refused(400, "invalid_value", f"`limit` is a number from 1 to {PAGE_MAX}.", param="limit")
    return int(limit), request.query_params.get("after")


def _view(key: OwnKey) -> KeyView:
    rights = key.rights
    return KeyView(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=sorted(rights.scopes),
        models=None if rights.models is None else sorted(rights.models),
        allowed_ips=None if rights.allowed_ips is None else [str(each) for each in rights.allowed_ips],
        allowed_origins=None if rights.allowed_origins is None else list(rights.allowed_origins),
        rate_limit=min((each for each in (key.rate_limit, key.own_rate_limit) if each is not None), default=None),
        status=own_keys.status_of(key),
        created_at=_time(key.created_at),
        expires_at=None if rights.expires_at is None else _time(rights.expires_at),
        last_used_at=None if key.last_used_at is None else _time(key.last_used_at),
        revoked_at=None if key.revoked_at is None else _time(key.revoked_at),
        replaced_by=key.replaced_by,
        owner="team" if key.person is None else "person",
        person=key.person,
        role=key.role,
    )


def _new(key: OwnKey, plain_key: str) -> NewKeyView:
    return NewKeyView(**_view(key).model_dump(), key=plain_key)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _json(view: BaseModel, status: int = 200) -> Response:
    body = orjson.dumps(view.model_dump())
    return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})
