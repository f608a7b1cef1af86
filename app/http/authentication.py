"""Whose request is this? The one place where a key is read from a request, whichever header it came in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from starlette.types import Scope

from app.database import Unavailable
from app.http import browser_session
from app.http.client_address import client_address, within
from app.http.headers import PAGE
from app.http.refusals import Refused, retry_after
from app.identity import Identity, NotMember, Unknown
from app.people.tokens import looks_like_token
from app.wiring import WebParts
from handlers.rules.roles import SCOPE_OF, Action

WATCH_S: Final = 2.0
"""A revoked key is to be over within five seconds, and word of it takes one."""

ACCOUNT_HEADER: Final = b"x-helix-account"
"""Which account a person acts for; his own where it is not sent."""

Headers = Sequence[tuple[bytes, bytes]]


def header(headers: Headers, name: bytes) -> str | None:
    """The first header of that name (in small letters), or None."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1").strip()
    return None


def key_of(headers: Headers) -> str | None:
    """The key a client sent: `Authorization: Bearer …`, or else `x-api-key`."""
    authorization = header(headers, b"authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None
    return header(headers, b"x-api-key")


async def identify(parts: WebParts, request: Scope, account: str | None = None) -> Identity:
    """Who comes to the matched route, once it is clear that he may do what it does (its row in `operations`).

    He acts for `account` where the route's path names one, else for the one that the header `x-helix-account` names, else
    for his key's own. Raises Refused: 401 without a good key, 403 when the key's scopes or the role do not allow it or it is
    used from where it may not be, 404 for an account that he does not belong to, 429 where too many wrong keys came from,
    503 when something must be looked up and cannot be.
    """
    identities = parts.identities
    key = key_of(request["headers"])
    if key is None:
        key = _cookie(parts, request)
    identity = identities.cached(key)
    if identity is None and looks_like_token(key):
        identity = await _signed_in(parts, key)
    if identity is None:
        address = client_address(request, parts.settings.trusted_proxies)
        if wait_s := parts.guesses.wait_s(address):
            raise Refused(
                429, "too_many_wrong_keys", "Too many wrong keys came from this address.", headers=retry_after(wait_s)
            )
        try:
            identity = await identities.of(key)
        except Unknown as unknown:
            if unknown.why == "unknown":
                parts.guesses.note(address)
            raise Refused(401, "invalid_api_key", "This API key is not valid.") from None
        except Unavailable:
            raise Refused(503, "identity_unavailable", "The key cannot be checked just now; try again.") from None
    wanted = account or header(request["headers"], ACCOUNT_HEADER)
    if wanted is not None and wanted != identity.account:
        identity = await _acting_for(parts, identity, wanted)
    request.setdefault("state", {})["identity"] = identity
    _allow(parts, request, identity)
    return identity


def note_refused(parts: WebParts, request: Scope, code: str) -> None:
    """A request was answered 403: whoever is known to have made it wanted what he may not do, and the audit log is told."""
    identity: Identity | None = request["state"].get("identity")
    if identity is not None:
        parts.refused.note(identity, code, action_of(parts, request))


async def _acting_for(parts: WebParts, identity: Identity, account: str) -> Identity:
    """The identity in that account. Raises Refused 404, 503."""
    try:
        return await parts.identities.acting_for(identity, account)
    except NotMember:
        raise Refused(404, "account_not_found", "There is no such account, or you do not belong to it.") from None
    except Unavailable:
        raise Refused(503, "identity_unavailable", "The account cannot be looked up just now; try again.") from None


def _cookie(parts: WebParts, request: Scope) -> str:
    """The access token that a browser brings where no key is sent. Raises Refused 401, and 403 for a strange page."""
    headers = request["headers"]
    token = browser_session.cookie(headers, browser_session.ACCESS)
    if token is None:
        raise Refused(401, "invalid_api_key", "No API key was sent: use the header `Authorization: Bearer hx_user_…`.")
    if not browser_session.from_our_page(request["method"], headers, parts.settings.public_url):
        raise Refused(403, "cross_site", "With cookies, this is taken from pages of this host alone.")
    return token


async def _signed_in(parts: WebParts, token: str) -> Identity:
    """Who comes with an access token. Raises Refused 401, 503."""
    try:
        return await parts.people.signed_in.of(token)
    except Unknown as unknown:
        if unknown.why == "expired":
            raise Refused(401, "access_token_expired", "This access token is over: refresh it.") from None
        raise Refused(401, "invalid_access_token", "This access token is not valid.") from None
    except Unavailable:
        raise Refused(503, "identity_unavailable", "The session cannot be checked just now; try again.") from None


def session_of(parts: WebParts, request: Scope) -> str | None:
    """The session of whoever `identify` has let in; None where it was by a key."""
    token = key_of(request["headers"]) or browser_session.cookie(request["headers"], browser_session.ACCESS)
    return parts.people.signed_in.session_of(token) if token is not None and looks_like_token(token) else None


def _allow(parts: WebParts, request: Scope, identity: Identity) -> None:
    """The one place where scopes and roles are enforced. Raises Refused 403 when this one may not do this, or not from
    here; KeyError for a route without a row, which so opens to nobody."""
    if identity.allowed_ips is not None:
        address = client_address(request, parts.settings.trusted_proxies)
        if address is None or not within(address, identity.allowed_ips):
            raise Refused(403, "ip_not_allowed", "This key may not be used from this address.")
    if identity.allowed_origins is not None:
        _from_page(parts, request, identity, identity.allowed_origins)
    action = action_of(parts, request)
    if identity.may(action):
        return
    if not identity.has(scope := SCOPE_OF[action]):
        raise Refused(403, "scope_missing", f"This key may not do this: it lacks the scope `{scope}`.")
    raise Refused(403, "role_missing", f"Who is {identity.role} of this account may not do this: `{action}`.")


def _from_page(parts: WebParts, request: Scope, identity: Identity, allowed: tuple[str, ...]) -> None:
    """Opens the answer to the page that asks, where it asks from one. Raises Refused 403 for a page that may not use the key."""
    origin = header(request["headers"], b"origin")
    if origin is None:
        return
    if origin not in allowed:
        parts.refused.note(identity, "origin_not_allowed", action_of(parts, request))
        raise Refused(403, "origin_not_allowed", "This key may not be used by pages of this origin.")
    request["state"][PAGE] = origin.encode()


def action_of(parts: WebParts, request: Scope) -> Action:
    """What the matched route does."""
    method = request["method"]
    return parts.needs["GET" if method == "HEAD" else method, request["route"].path_format]


async def _still(parts: WebParts, key: str) -> Identity:
    """Whose key or session it still is: a stream outlives the access token that it began with. Raises Unknown, Unavailable."""
    if looks_like_token(key):
        return await parts.people.signed_in.of(key, lasting=True)
    return await parts.identities.of(key)


class Watch:
    """Whether the key behind an open stream has come to its end meanwhile."""

    def __init__(self) -> None:
        self.over = False


@contextmanager
def watched(parts: WebParts, request: Scope, interrupt: Callable[[], None]) -> Iterator[Watch]:
    """While a stream is open: look at its key every WATCH_S, and interrupt the stream when it opens nothing any more.

    A key that cannot be looked up just now is believed.
    """
    watch = Watch()
    key = key_of(request["headers"]) or browser_session.cookie(request["headers"], browser_session.ACCESS) or ""

    async def look() -> None:
        while not watch.over:
            await asyncio.sleep(WATCH_S)
            try:
                identity = parts.identities.cached(key) or await _still(parts, key)
                wanted = header(request["headers"], ACCOUNT_HEADER)
                _allow(parts, request, identity if wanted is None else await _acting_for(parts, identity, wanted))
            except Unknown:
                watch.over = True
            except Refused as refused:
                watch.over = refused.status != 503
            except Unavailable:
                continue
        interrupt()

    task = asyncio.create_task(look(), name="watch_key")
    try:
        yield watch
    finally:
        task.cancel()
