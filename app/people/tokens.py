"""Access tokens: signed here, read here, and nowhere else.

One rule: what a token says of itself is believed only after its signature; which key and which algorithm that takes is never
the token's word but ours. Nothing is fetched, whatever a token asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

ALGORITHM: Final = "HS256"
"""Who signs is who reads; a public key would serve nobody."""
TYPE: Final = "at+jwt"
"""RFC 9068: nothing else that is ever signed with these keys can pass for an access token."""
ISSUER: Final = "helix"
AUDIENCE: Final = "helix-api"
ACCESS_S: Final = 900
TOKEN_CHARACTERS_MAX: Final = 2048
"""Ours have below 500."""
SKEW_S: Final = 5
"""Between the clocks of two web processes."""
_SECRET_CHARACTERS_MIN: Final = 32
_KID_DIGITS: Final = 16
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "sid", "iat", "exp"})


class SecretRefused(Exception):
    """JWT_SECRET_KEY makes no sense. Says why, never the secret."""


class NoToken(Exception):
    """This is no access token of ours, or not any more. `expired`: it was one."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("expired" if expired else "no token of ours")
        self.expired = expired


@dataclass(frozen=True, slots=True)
class Access:
    """What a token says."""

    person: str
    session: str
    expires_at: int
    """Unix seconds."""


def looks_like_token(key: str) -> bool:
    """Whether it could be one at all: the first letters of every JSON object in base64."""
    return key.startswith("eyJ")


class AccessTokens:
    """Several secrets: the first signs, all are believed; a token names its own by the first digits of its SHA-256."""

    def __init__(self, secrets: str, *, now: Callable[[], float] = time.time) -> None:
        """`secrets` as JWT_SECRET_KEY has them: separated by commas; empty: nobody can sign in. Raises SecretRefused."""
        self._now = now
        self._keys: dict[str, OctKey] = {}
        for place, secret in enumerate(filter(None, (part.strip() for part in secrets.split(","))), start=1):
            if len(secret) < _SECRET_CHARACTERS_MIN:
                raise SecretRefused(f"JWT_SECRET_KEY: key {place} is shorter than {_SECRET_CHARACTERS_MIN} characters")
            kid = sha256(secret.encode()).hexdigest()[:_KID_DIGITS]
            # What is signed with is drawn from the secret, so that the same words elsewhere sign nothing here.
            self._keys[kid] = OctKey.import_key(sha256(b"helix access token " + secret.encode()).digest())
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(self._now()),
            leeway=SKEW_S,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            sid={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )

    @property
    def can_sign(self) -> bool:
        return bool(self._keys)

    def sign(self, person: str, session: str) -> str:
        """A token for ACCESS_S seconds. Raises SecretRefused where there is no secret."""
        if not self._keys:
            raise SecretRefused("JWT_SECRET_KEY: Field required")
        kid, key = next(iter(self._keys.items()))
        now = int(self._now())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": person, "sid": session, "iat": now, "exp": now + ACCESS_S}
        return jwt.encode({"alg": ALGORITHM, "kid": kid, "typ": TYPE}, claims, key, algorithms=[ALGORITHM])

    def read(self, token: str) -> Access:
        """Raises NoToken for whatever is no valid token of ours."""
        if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
            raise NoToken
        try:
            return self._read(token)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as refused:
            # Whatever a library may stumble over in a stranger's words: it is no token of ours.
            raise NoToken(expired=isinstance(refused, ExpiredTokenError)) from None

    def _read(self, token: str) -> Access:
        header = jws.extract_compact(token.encode()).headers()
        if set(header) != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE:
            raise NoToken
        found = jwt.decode(token, self._keys[header["kid"]], algorithms=[ALGORITHM])
        claims = found.claims
        if set(claims) != _CLAIMS or type(claims["aud"]) is not str or type(claims["exp"]) is not int:
            raise NoToken
        self._claims.validate(claims)
        return Access(str(UUID(claims["sub"])), str(UUID(claims["sid"])), claims["exp"])
