"""`/v1/auth/providers` and `/v1/auth/oidc`: sign-in through somebody else, in a browser.

One rule: who comes back must bring the cookie with which this very browser was sent away, and the state in it; so nobody is
signed in as somebody else by a link that he was given.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from hmac import compare_digest
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.database import borrowed
from app.http import browser_session
from app.http.client_address import client_address
from app.http.erasure import come_back
from app.http.people import begin, show, worded
from app.http.people_shapes import SignInProvider, SignInProviders
from app.http.refusals import Refused, retry_after
from app.http.throttle import Guesses
from app.key_ring import RingRefused
from app.people import oneself, outside
from app.people.issuers.issuer import Asked, Issuer, IssuerAway, IssuerRefused
from app.wiring import WebParts

log = structlog.get_logger()

COOKIE: Final = "__Host-helix_sign_in"
AWAY_S_MAX: Final = 600
"""At the issuer's, with a password and a second factor to be typed in."""
AT_ONCE: Final = 60
EVERY_S: Final = 1.0
"""From one address: each start and each return asks the issuer something."""
_PURPOSE: Final = "sign-in"
_PATH: Final = re.compile(r"/(?![/\\])[A-Za-z0-9/_.~%?=&#-]{0,512}")
"""Within this host: two slashes would be another one."""
HOME: Final = "/docs"


class SignInWith:
    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._tries = Guesses(at_once=AT_ONCE, every_s=EVERY_S)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/auth/providers", self.providers, methods=["GET"]),
            Route("/v1/auth/oidc/{name}/start", self.start, methods=["GET"]),
            Route("/v1/auth/oidc/{name}/callback", self.callback, methods=["GET"]),
        ]

    async def providers(self, request: Request) -> Response:
        """By whom people may sign in here."""
        named = [SignInProvider(name=name, start=f"/v1/auth/oidc/{name}/start") for name in self._parts.people.issuers]
        return show(SignInProviders(data=named, password=self._parts.people.tokens.can_sign))

    async def start(self, request: Request) -> Response:
        """Send the browser to the issuer."""
        issuer = self._issuer(request)
        self._try(request)
        then = request.query_params.get("next", HOME)
        if not _PATH.fullmatch(then):
            raise Refused(400, "invalid_value", "`next` is a path of this host.", param="next")
        asked = Asked()
        try:
            answer = RedirectResponse(await issuer.way_there(asked, self._back(issuer)), 303)
        except IssuerAway as away:
            raise _away(issuer, away) from None
        answer.set_cookie(
            COOKIE,
            self._sealed(issuer, asked, then),
            max_age=AWAY_S_MAX,
            path="/",
            secure=True,
            httponly=True,
            samesite="lax",  # it must come along when the issuer sends the browser back
        )
        return answer

    async def callback(self, request: Request) -> Response:
        """The browser is back: who is it?"""
        issuer = self._issuer(request)
        self._try(request)
        asked, then = self._opened(request, issuer)
        query = request.query_params
        if not compare_digest(query.get("state", "").encode(), asked.state.encode()):
            raise _nothing_begun()
        if "error" in query or not query.get("code"):
            raise Refused(403, "sign_in_refused", f"{issuer.name} did not let you in, or you did not want it.")
        try:
            vouched = await issuer.who_came(asked, self._back(issuer), query)
        except IssuerRefused as refused:
            log.warning("sign_in_unproven", provider=issuer.name, why=str(refused))
            raise Refused(403, "sign_in_unproven", f"What {issuer.name} answered proves nothing.") from None
        except IssuerAway as away:
            raise _away(issuer, away) from None
        with worded():
            try:
                async with borrowed(self._parts.pool) as connection:
                    person = await outside.person_of(
                        connection, self._parts.mails, self._parts.people.letters, vouched, issuer.name
                    )
                    status = (await oneself.find(connection, person)).status
                if status == "deleted":
                    await come_back(self._parts, person)
                    async with borrowed(self._parts.pool) as connection:
                        status = (await oneself.find(connection, person)).status
            except outside.NoAddress:
                message = f"{issuer.name} names no e-mail address of yours that it has tried."
                raise Refused(403, "email_not_verified", message) from None
        if status != "active":
            raise Refused(403, f"account_{status}", f"This account is {status}.")
        signed_in = await begin(self._parts, request, person, issuer.name, cookies=True)
        answer = RedirectResponse(then, 303)
        answer.raw_headers += [header for header in signed_in.raw_headers if header[0] == b"set-cookie"]
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    def _issuer(self, request: Request) -> Issuer:
        if not self._parts.people.tokens.can_sign:
            raise Refused(501, "sign_in_not_configured", "This Helix has no JWT_SECRET_KEY: use an API key.")
        found = self._parts.people.issuers.get(request.path_params["name"])
        if found is None:
            raise Refused(404, "sign_in_provider_not_found", "Nobody of that name vouches for people here.")
        return found

    def _try(self, request: Request) -> None:
        address = client_address(request.scope, self._parts.settings.trusted_proxies)
        if wait_s := self._tries.wait_s(address):
            message = "Too many tries came from this address."
            raise Refused(429, "too_many_tries", message, headers=retry_after(wait_s))
        self._tries.note(address)

    def _back(self, issuer: Issuer) -> str:
        return f"{self._parts.settings.public_url}/v1/auth/oidc/{issuer.name}/callback"

    def _sealed(self, issuer: Issuer, asked: Asked, then: str) -> str:
        ring = self._parts.mails.ring
        words = json.dumps({**asdict(asked), "then": then, "until": time.time() + AWAY_S_MAX}).encode()
        return f"{ring.current}.{base64.urlsafe_b64encode(ring.seal(_bound(issuer), words)).decode().rstrip('=')}"

    def _opened(self, request: Request, issuer: Issuer) -> tuple[Asked, str]:
        """What this browser was sent away with. Raises Refused."""
        by, _, sealed = (browser_session.cookie(request.headers.raw, COOKIE) or "").partition(".")
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            said: Mapping[str, str] = json.loads(self._parts.mails.ring.open(_bound(issuer), raw, by))
        except (ValueError, RingRefused):
            raise _nothing_begun() from None
        if float(said["until"]) < time.time():
            raise _nothing_begun()
        return Asked(said["state"], said["nonce"], said["verifier"]), said["then"]


def _bound(issuer: Issuer) -> str:
    return f"{_PURPOSE} {issuer.name}"


def _nothing_begun() -> Refused:
    return Refused(400, "sign_in_not_begun", "This browser has not begun this sign-in, or too long ago: begin anew.")


def _away(issuer: Issuer, away: IssuerAway) -> Refused:
    log.warning("sign_in_issuer_away", provider=issuer.name, why=str(away))
    return Refused(503, "sign_in_provider_away", f"{issuer.name} does not answer just now; try again.")
