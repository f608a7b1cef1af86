"""`/v1/provider-keys`: the keys that an account has brought for the providers' own services.

One rule: what is sent here is never shown again, and where a provider listens is nobody's to say but the operator's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Annotated, Final, Literal

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.changes import Change, ChannelDown, tell
from app.database import Unavailable, borrowed
from app.http.authentication import identify
from app.http.operation import Answer, Operation, Parameter, refusals
from app.http.refusals import Refused
from app.http.shaped_body import shaped_body
from app.identity import Identity
from app.provider_keys import store
from app.provider_keys.store import Stored
from app.vault import Erased
from app.wiring import WebParts

log = structlog.get_logger()

_KEY: Final = r"^[!-~]{8,512}$"
"""One word of visible ASCII: it goes into a header."""


class ProviderKeyBody(BaseModel):
    """What is sent with PUT."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    api_key: Annotated[SecretStr, Field(json_schema_extra={"pattern": _KEY}, min_length=8, max_length=512)]
    """The key as the provider gave it."""


class ProviderKeyView(BaseModel):
    """A key that the account has brought, without the key."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    object: Literal["provider_key"] = "provider_key"
    provider: str
    hint: str
    """Its first and last four characters; of a short key nothing."""
    created_at: str
    updated_at: str
    """When it was stored; another key for the same provider takes its place."""


class ProviderKeyList(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    object: Literal["list"] = "list"
    data: list[ProviderKeyView]
    providers: list[str]
    """All providers that a key can be brought for."""


class ProviderKeyRemoved(BaseModel):
    model_config = ConfigDict(frozen=True)

    object: Literal["provider_key"] = "provider_key"
    provider: str
    deleted: Literal[True] = True


_PROVIDER: Final = Parameter("provider", "path", "The provider, such as `openai`.")

OPERATIONS: Final = (
    Operation(
        "GET",
        "/v1/provider-keys",
        "Account",
        "The provider keys that the account has brought",
        "Without the keys themselves, which are not shown again; and which providers one can be brought for.",
        {200: Answer("The keys.", ProviderKeyList)} | refusals(401, 403, 429, 503),
        action="provider_keys.read",
    ),
    Operation(
        "GET",
        "/v1/provider-keys/{provider}",
        "Account",
        "One provider key",
        "That it is there and when it was stored.",
        {200: Answer("The key, without the key.", ProviderKeyView)} | refusals(401, 403, 404, 429, 503),
        (_PROVIDER,),
        action="provider_keys.read",
    ),
    Operation(
        "PUT",
        "/v1/provider-keys/{provider}",
        "Account",
        "Bring a provider key",
        "From now on the account's requests to this provider are made with its own key, and its tokens are on the account's "
        "own bill there. Where the provider refuses the key, so does the answer: no other key is used in its place.",
        {200: Answer("It is stored.", ProviderKeyView)} | refusals(400, 401, 403, 404, 413, 429, 503),
        (_PROVIDER,),
        body=ProviderKeyBody,
        example='{"api_key": "sk-0123456789abcdef"}',
        action="provider_keys.write",
    ),
    Operation(
        "DELETE",
        "/v1/provider-keys/{provider}",
        "Account",
        "Take a provider key away",
        "It is used no more after five seconds at most.",
        {200: Answer("It is gone.", ProviderKeyRemoved)} | refusals(401, 403, 404, 429, 503),
        (_PROVIDER,),
        action="provider_keys.write",
    ),
)


class ProviderKeys:
    """The routes below `/v1/provider-keys`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    @property
    def _providers(self) -> Sequence[str]:
        """Those that a key can be brought for."""
        catalogues = self._parts.own_catalogues
        return sorted(catalogues.endpoints) if catalogues else ()

    def routes(self) -> list[Route]:
        one = "/v1/provider-keys/{provider}"
        return [
            Route("/v1/provider-keys", self.list, methods=["GET"]),
            Route(one, self.show, methods=["GET"]),
            Route(one, self.put, methods=["PUT"]),
            Route(one, self.remove, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """The account's keys by the provider's name."""
        found = await self._all_of(await self._identity(request))
        return _json(ProviderKeyList(data=[_view(each) for each in found], providers=list(self._providers)))

    async def show(self, request: Request) -> Response:
        provider = request.path_params["provider"]
        for each in await self._all_of(await self._identity(request)):
            if each.provider == provider:
                return _json(_view(each))
        raise _missing()

    async def put(self, request: Request) -> Response:
        """Store a key, in the place of one that was there."""
        identity = await self._identity(request)
        provider = request.path_params["provider"]
        if provider not in self._providers:
            raise Refused(404, "provider_not_found", "There is no such provider that a key can be brought for.")
        key = _key(await shaped_body(ProviderKeyBody, request))
        with _worded():
            box = await self._parts.vault.box(identity.account)
            async with borrowed(self._parts.pool) as connection:
                stored = await store.put(connection, identity.account, box, provider, key, by=identity.by)
        await self._tell(identity.account)
        log.info("provider_key_stored", account=identity.account, provider=provider, by=identity.by)
        return _json(_view(stored))

    async def remove(self, request: Request) -> Response:
        identity = await self._identity(request)
        provider = request.path_params["provider"]
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                was_there = await store.remove(connection, identity.account, provider, by=identity.by)
        if not was_there:
            raise _missing()
        await self._tell(identity.account)
        log.info("provider_key_removed", account=identity.account, provider=provider, by=identity.by)
        return _json(ProviderKeyRemoved(provider=provider))

    async def _identity(self, request: Request) -> Identity:
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        return identity

    async def _all_of(self, identity: Identity) -> Sequence[Stored]:
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                return await store.all_of(connection, identity.account)

    async def _tell(self, account: str) -> None:
        """Every process forgets what it remembered; this one at once."""
        change = Change("account", account)
        self._parts.identities.forget(change)
        try:
            await tell(self._parts.settings.cache, change)
        except ChannelDown:
            # Workers read a key anew after seconds; other web processes name it for a minute, and it is not found then.
            log.warning("provider_key_change_not_told", account=account)


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except Unavailable:
        raise Refused(503, "database_unavailable", "Provider keys cannot be reached just now; try again.") from None
    except Erased:
        raise Refused(401, "invalid_api_key", "This account has been erased.") from None


def _key(body: ProviderKeyBody) -> str:
    """Raises Refused, whose words never repeat what was sent."""
    key = body.api_key.get_secret_value()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Refused(400, "invalid_value", "A provider key is one word of visible ASCII.", param="api_key")
    return key


def _missing() -> Refused:
    return Refused(404, "provider_key_not_found", "The account has brought no key for this provider.")


def _view(stored: Stored) -> ProviderKeyView:
    created, updated = (
        at.astimezone(UTC).isoformat(timespec="seconds") for at in (stored.created_at, stored.updated_at)
    )
    return ProviderKeyView(provider=stored.provider, hint=stored.hint, created_at=created, updated_at=updated)


def _json(view: BaseModel) -> Response:
    body = orjson.dumps(view.model_dump())
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})
