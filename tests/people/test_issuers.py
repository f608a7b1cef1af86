"""Issuers: what they vouch for is believed, and nothing that only looks like it."""

from __future__ import annotations

import base64
import hmac
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc.jwk import RSAKey

from app.people.issuers.github import GitHub
from app.people.issuers.issuer import Asked, Issuer, IssuerAway, IssuerRefused, Settings, Vouched
from app.people.issuers.oidc import OidcIssuer
from tests.fakes.issuer import CLIENT, FIRST_KEY, SECRET, Claims, FakeIssuer, as_json, rsa_key, running

BACK = "https://helix.example/v1/auth/oidc/corporate/callback"
EMAIL = "anna@example.org"
OTHER = rsa_key("other")


@pytest.fixture
async def fake() -> AsyncIterator[FakeIssuer]:
    issuer = FakeIssuer()
    issuer.person["email"] = EMAIL
    async with running(issuer):
        yield issuer


def oidc(fake: FakeIssuer, now: list[float] | None = None) -> OidcIssuer:
    clock = now or [0.0]
    return OidcIssuer(Settings("corporate", "oidc", fake.base, CLIENT, SECRET), clock=lambda: clock[0])


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def come(issuer: Issuer, fake: FakeIssuer, asked: Asked | None = None) -> Vouched:
    """There and back again."""
    asked = asked or Asked()
    back = fake.visit(await issuer.way_there(asked, BACK))
    return await issuer.who_came(asked, BACK, query_of(back))


async def test_who_comes_back_is_named_by_the_issuer(fake: FakeIssuer) -> None:
    assert await come(oidc(fake), fake) == Vouched(fake.base, "248289761001", EMAIL)


async def test_github_names_its_accounts_by_number_and_their_tried_address(fake: FakeIssuer) -> None:
    github = GitHub(Settings("github", "github", fake.base, CLIENT, SECRET, fake.base))

    assert await come(github, fake) == Vouched(fake.base, "583231", EMAIL)
    fake.person["email_verified"] = False
    assert (await come(github, fake)).email is None


@pytest.mark.parametrize("verified", [False, None, "false", 1, "yes"])
async def test_an_address_that_the_issuer_has_not_tried_is_none(fake: FakeIssuer, verified: object) -> None:
    fake.person["email_verified"] = verified

    assert (await come(oidc(fake), fake)).email is None


async def test_discovery_and_keys_are_asked_for_once(fake: FakeIssuer) -> None:
    issuer = oidc(fake)
    for _ in range(3):
        await come(issuer, fake)

    assert sorted(fake.asked) == ["/.well-known/openid-configuration", "/jwks", "/token", "/token", "/token"]


def hs256(key: bytes) -> Any:
    def sign(fake: FakeIssuer, claims: Claims) -> str:
        head = b64(as_json({"alg": "HS256", "kid": "first"}))
        body = b64(as_json(claims))
        return b".".join((head, body, b64(hmac.new(key, head + b"." + body, sha256).digest()))).decode()

    return sign


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def unsigned(fake: FakeIssuer, claims: Claims) -> str:
    return f"{b64(as_json({'alg': 'none', 'kid': 'first'})).decode()}.{b64(as_json(claims)).decode()}."


def by_another(key: RSAKey, **header: object) -> Any:
    def sign(fake: FakeIssuer, claims: Claims) -> str:
        return FakeIssuer(keys=[key]).signed(claims, **header)

    return sign


def with_a_demand(fake: FakeIssuer, claims: Claims) -> str:
    head = b64(as_json({"alg": "RS256", "kid": "first", "crit": ["exp"]}))
    body = b64(as_json(claims))
    assert FIRST_KEY.private_key is not None
    signature = FIRST_KEY.private_key.sign(head + b"." + body, padding.PKCS1v15(), hashes.SHA256())
    return b".".join((head, body, b64(signature))).decode()


PUBLIC_PEM = FIRST_KEY.as_pem(private=False)

TWISTED: dict[str, Any] = {
    "another issuer": lambda claims: claims | {"iss": "https://evil.example"},
    "no issuer": lambda claims: {name: claims[name] for name in claims if name != "iss"},
    "for another client": lambda claims: claims | {"aud": "somebody-else"},
    "for several, by another": lambda claims: claims | {"aud": [CLIENT, "other"], "azp": "other"},
    "for several, by nobody": lambda claims: claims | {"aud": [CLIENT, "other"]},
    "no audience": lambda claims: {name: claims[name] for name in claims if name != "aud"},
    "another nonce": lambda claims: claims | {"nonce": "replayed"},
    "no nonce": lambda claims: {name: claims[name] for name in claims if name != "nonce"},
    "over": lambda claims: claims | {"exp": claims["iat"] - 3600},
    "without end": lambda claims: {name: claims[name] for name in claims if name != "exp"},
    "an end that is text": lambda claims: claims | {"exp": "tomorrow"},
    "an end that is no number": lambda claims: claims | {"exp": float("nan")},
    "not yet": lambda claims: claims | {"nbf": claims["exp"] + 3600},
    "no subject": lambda claims: {name: claims[name] for name in claims if name != "sub"},
    "a subject that is none": lambda claims: claims | {"sub": ""},
    "a subject that is a number": lambda claims: claims | {"sub": 7},
    "another access token": lambda claims: claims | {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}
SIGNED: dict[str, Any] = {
    "by nobody": unsigned,
    "by a public key as a secret": hs256(PUBLIC_PEM),
    "by the client's secret": hs256(SECRET.encode()),
    "by another key under our name": by_another(OTHER, kid="first"),
    "by a key that it brings": by_another(OTHER, kid="first", jwk=OTHER.as_dict(private=False)),
    "by a key at an address": by_another(OTHER, kid="first", jku="http://127.0.0.1:1/jwks"),
    "with a demand": with_a_demand,
    "as no token": lambda fake, claims: "no.token",
    "as too long a token": lambda fake, claims: "e" * 20_000,
}


@pytest.mark.parametrize("twist", TWISTED.values(), ids=list(TWISTED))
async def test_claims_that_are_not_for_us_prove_nothing(fake: FakeIssuer, twist: Any) -> None:
    fake.twist = twist

    with pytest.raises(IssuerRefused):
        await come(oidc(fake), fake)


@pytest.mark.parametrize("sign", SIGNED.values(), ids=list(SIGNED))
async def test_signatures_that_are_not_the_issuers_prove_nothing(fake: FakeIssuer, sign: Any) -> None:
    fake.sign = sign

    with pytest.raises(IssuerRefused):
        await come(oidc(fake), fake)


async def test_a_new_key_is_asked_for_and_an_unknown_one_at_most_once_a_minute(fake: FakeIssuer) -> None:
    now = [0.0]
    issuer = oidc(fake, now)
    await come(issuer, fake)
    now[0] = 100.0
    fake.keys = [FIRST_KEY, rsa_key("second")]
    assert (await come(issuer, fake)).subject == "248289761001"

    fake.sign = by_another(OTHER, kid="unknown")
    for second in range(50):
        now[0] = 101.0 + second / 10
        with pytest.raises(IssuerRefused):
            await come(issuer, fake)

    assert fake.asked.count("/jwks") == 2


async def test_a_code_is_good_once_and_for_who_asked(fake: FakeIssuer) -> None:
    issuer, asked = oidc(fake), Asked()
    stolen = query_of(fake.visit(await issuer.way_there(asked, BACK)))

    with pytest.raises(IssuerRefused):  # without the verifier, which the thief does not have
        await issuer.who_came(Asked(state=asked.state, nonce=asked.nonce), BACK, stolen)
    with pytest.raises(IssuerRefused):
        await issuer.who_came(asked, BACK, stolen)


async def test_an_issuer_that_is_down_or_another_is_away(fake: FakeIssuer) -> None:
    fake.down = True
    with pytest.raises(IssuerAway):
        await oidc(fake).way_there(Asked(), BACK)
    fake.down = False
    with pytest.raises(IssuerAway):
        await OidcIssuer(Settings("x", "oidc", f"{fake.base}/", CLIENT, SECRET)).way_there(Asked(), BACK)


async def test_no_secret_goes_out_without_tls(fake: FakeIssuer) -> None:
    with pytest.raises(IssuerAway):
        await OidcIssuer(Settings("x", "oidc", "http://issuer.example", CLIENT, SECRET)).way_there(Asked(), BACK)
