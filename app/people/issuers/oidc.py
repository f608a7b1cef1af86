"""An issuer that speaks OpenID Connect: found by its discovery document, believed by the signatures of its keys.

One rule: which algorithms and which keys count is ours and the discovery document's to say, never a token's; and a key that is
not known makes us ask for the keys at most once a minute, however many tokens name it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]  # authlib has no types
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.people.issuers.issuer import Asked, IssuerAway, IssuerRefused, Settings, Vouched, trusted_url
from app.people.issuers.talk import Json, ask, grant_url, token_for

ALGORITHMS: Final = ("RS256", "ES256")
"""What issuers sign with. None that a public key could be taken for the secret of."""
SCOPE: Final = "openid email"
KEEP_S: Final = 3600.0
"""A discovery document and keys; a new key is asked for when it is first met."""
KEYS_AGAIN_S: Final = 60.0
SKEW_S: Final = 60
TOKEN_CHARACTERS_MAX: Final = 16_384
SUBJECT_CHARACTERS_MAX: Final = 255


class OidcIssuer:
    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._found: Mapping[str, Json] = {}
        self._found_at = -KEEP_S
        self._keys: KeySet | None = None
        self._keys_at = -KEEP_S

    @property
    def name(self) -> str:
        return self._settings.name

    async def way_there(self, asked: Asked, redirect_uri: str) -> str:
        endpoint = trusted_url((await self._discovery()).get("authorization_endpoint"))
        return grant_url(endpoint, self._settings, asked, redirect_uri, SCOPE, nonce=asked.nonce)

    async def who_came(self, asked: Asked, redirect_uri: str, query: Mapping[str, str]) -> Vouched:
        found = await self._discovery()
        if query.get("iss", self._settings.issuer) != self._settings.issuer:
            raise IssuerRefused("another issuer answered")  # RFC 9207
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        endpoint = trusted_url(found.get("token_endpoint"))
        given = await token_for(endpoint, self._settings, asked, redirect_uri, query.get("code", ""), method)
        claims = await self._claims(given.get("id_token"), asked, given["access_token"])
        email, tried = claims.get("email"), claims.get("email_verified")
        # Some issuers say it as text.
        believed = isinstance(email, str) and (tried is True or tried == "true")
        return Vouched(self._settings.issuer, claims["sub"], email if believed else None)

    async def _claims(self, token: object, asked: Asked, access_token: str) -> Mapping[str, Json]:
        """What a valid id token says. Raises IssuerRefused for any other, IssuerAway."""
        if not isinstance(token, str) or len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
            raise IssuerRefused("no id token")
        try:
            header = jws.extract_compact(token.encode()).headers()
            if header.get("alg") not in ALGORITHMS or "crit" in header:
                raise IssuerRefused("an algorithm that does not count")
            key = await self._key(header.get("kid"))
            # Only the head that we read: what else it names, a key or an address of one, is not looked at.
            signed = jwt.decode(token, key, algorithms=[header["alg"]])
            claims = CodeIDToken(
                signed.claims,
                signed.header,
                options={
                    "iss": {"essential": True, "value": self._settings.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                },
                params={
                    "nonce": asked.nonce,
                    "client_id": self._settings.client_id,
                    "access_token": access_token,
                },
            )
            if any(type(claims.get(name)) is not int for name in ("exp", "iat")):
                raise IssuerRefused("times that are none")
            claims.validate(leeway=SKEW_S)
            subject = claims["sub"]
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as refused:
            # Whatever a library may stumble over in a stranger's words.
            raise IssuerRefused(f"an id token that proves nothing: {type(refused).__name__}") from None
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX or not subject.isprintable():
            raise IssuerRefused("a subject that is none")
        return dict(claims)

    async def _key(self, kid: object) -> KeySet:
        """The issuer's keys of this name; all of them where the token names none. Raises IssuerRefused, IssuerAway."""
        age_s = self._clock() - self._keys_at
        found = _named(self._keys, kid)
        if (found is None and age_s >= KEYS_AGAIN_S) or age_s >= KEEP_S:
            self._keys_at = self._clock()  # before it is asked: many may come with the same unknown name
            said = await ask((await self._discovery()).get("jwks_uri", ""))
            try:
                self._keys = KeySet.import_key_set(_public(said))
            except (JoseError, ValueError, TypeError, KeyError) as nonsense:
                raise IssuerAway(f"keys that are none: {type(nonsense).__name__}") from None
            found = _named(self._keys, kid)
        if found is None:
            raise IssuerRefused("a key that the issuer does not have")
        return found

    async def _discovery(self) -> Mapping[str, Json]:
        """The issuer's own description. Raises IssuerAway."""
        if self._clock() - self._found_at < KEEP_S:
            return self._found
        base = self._settings.issuer.rstrip("/")
        try:
            found = await ask(f"{base}/.well-known/openid-configuration")
        except IssuerRefused as refused:
            raise IssuerAway(str(refused)) from None
        if not isinstance(found, dict) or found.get("issuer") != self._settings.issuer:
            raise IssuerAway("a discovery document of somebody else")
        self._found, self._found_at = found, self._clock()
        return found


def _named(keys: KeySet | None, kid: object) -> KeySet | None:
    if keys is None:
        return None
    found = [key for key in keys if kid is None or key.kid == kid]
    return KeySet(found) if len(found) == 1 else None


def _public(said: Json) -> Json:
    """Only keys that signatures are checked with: never one that a signature could be made with."""
    keys = [each for each in said["keys"] if each.get("kty") in ("RSA", "EC") and each.get("use", "sig") == "sig"]
    return {"keys": keys}
