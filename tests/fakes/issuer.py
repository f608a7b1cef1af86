"""An OpenID Connect issuer and a GitHub of our own, over HTTP: they sign with real keys, and do wrong what a test asks them to.

One rule: everything a client sends is checked as a good issuer would; what goes wrong here is the client's fault.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "helix-client"
SECRET = "a secret of the client/with signs"
Claims = dict[str, Any]


def rsa_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}, private=True)


FIRST_KEY = rsa_key("first")
"""Made once: a pair takes a tenth of a second."""


@dataclass
class FakeIssuer:
    base: str = ""
    keys: list[RSAKey] = field(default_factory=lambda: [FIRST_KEY])
    person: Claims = field(default_factory=lambda: {"sub": "248289761001", "email": None, "email_verified": True})
    twist: Callable[[Claims], Claims] = lambda claims: claims
    """What it says instead of the truth."""
    sign: Callable[[FakeIssuer, Claims], str] | None = None
    """How it signs instead."""
    asked: list[str] = field(default_factory=list)
    """The paths that were asked for."""
    down: bool = False
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def visit(self, url: str) -> str:
        """What the browser does there: the person agrees → where it is sent back to."""
        at = urlsplit(url)
        asked = {name: values[0] for name, values in parse_qs(at.query).items()}
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256" and len(asked["state"]) >= 32
        code = token_hex(8)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/.well-known/openid-configuration", self.discovery),
            web.get("/jwks", self.jwks),
            web.post("/token", self.token),
            web.post("/login/oauth/access_token", self.github_token),
            web.get("/user", self.github_user),
            web.get("/user/emails", self.github_emails),
        ]

    async def discovery(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.base,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "jwks_uri": f"{self.base}/jwks",
            }
        )

    async def jwks(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def token(self, request: web.Request) -> web.Response:
        scheme, _, told = request.headers.get("authorization", "").partition(" ")
        form = await request.post()
        if scheme != "Basic" or base64.b64decode(told).decode() != f"{CLIENT}:{SECRET}":
            return web.json_response({"error": "invalid_client"}, status=401)
        asked = self._redeemed(form)
        if asked is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.base,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked.get("nonce"),
            **self.person,
        }
        claims = self.twist(claims)
        signed = self.sign(self, claims) if self.sign else self.signed(claims)
        return web.json_response({"access_token": "opaque", "token_type": "Bearer", "id_token": signed})

    def signed(self, claims: Claims, **header: object) -> str:
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid, **header}, claims, key, algorithms=["RS256"])

    async def github_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._redeemed(form) if (form["client_id"], form["client_secret"]) == (CLIENT, SECRET) else None
        if asked is None:  # GitHub says so with a 200
            return web.json_response({"error": "bad_verification_code"})
        return web.json_response({"access_token": "gho_opaque", "token_type": "bearer", "scope": "user:email"})

    async def github_user(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer gho_opaque"
        return web.json_response({"id": 583231, "login": "octocat", "email": "public@example.org"})

    async def github_emails(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer gho_opaque"
        return web.json_response(
            [
                {"email": "other@example.org", "primary": False, "verified": True},
                {"email": self.person["email"], "primary": True, "verified": self.person["email_verified"]},
            ]
        )

    def _redeemed(self, form: Any) -> dict[str, str] | None:
        asked = self._codes.pop(str(form.get("code")), None)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return asked if challenge == asked["code_challenge"] else None


@asynccontextmanager
async def running(fake: FakeIssuer) -> AsyncIterator[FakeIssuer]:
    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        fake.asked.append(request.path)
        if fake.down:
            return web.Response(status=503)
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[note])
    app.add_routes(fake.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def as_json(claims: Claims) -> bytes:
    return json.dumps(claims).encode()
