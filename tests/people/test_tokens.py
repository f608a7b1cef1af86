"""Access tokens: ours are read, and nothing else is, whatever it says of itself (A11)."""

from __future__ import annotations

import base64
import hmac
import json
import socket
from collections.abc import Callable
from hashlib import sha256, sha512
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from app.people.tokens import ACCESS_S, AccessTokens, NoToken, SecretRefused

SECRET: Final = "0123456789abcdef0123456789abcdef"
OTHER: Final = "fedcba9876543210fedcba9876543210"
KID: Final = sha256(SECRET.encode()).hexdigest()[:16]
SIGNS: Final = sha256(b"helix access token " + SECRET.encode()).digest()
NOW: Final = 1_800_000_000
PERSON: Final = "01900000-0000-7000-8000-000000000001"
SESSION: Final = "01900000-0000-7000-8000-000000000002"
HEADER: Final[dict[str, Any]] = {"alg": "HS256", "kid": KID, "typ": "at+jwt"}
CLAIMS: Final[dict[str, Any]] = {
    "iss": "helix",
    "aud": "helix-api",
    "sub": PERSON,
    "sid": SESSION,
    "iat": NOW,
    "exp": NOW + ACCESS_S,
}
RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC: Final = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
EVIL_JWK: Final = {"kty": "oct", "k": base64.urlsafe_b64encode(b"mine" * 8).rstrip(b"=").decode()}


def tokens(secrets: str = SECRET, now: float = NOW) -> AccessTokens:
    return AccessTokens(secrets, now=lambda: now)


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(header: object, claims: object, key: bytes = SIGNS, digest: Callable[..., Any] = sha256) -> str:
    """Any header over any claims, with a signature that is right for the key."""
    head = b64(header if isinstance(header, bytes) else json.dumps(header).encode())
    body = b64(claims if isinstance(claims, bytes) else json.dumps(claims).encode())
    return b".".join((head, body, b64(hmac.new(key, head + b"." + body, digest).digest()))).decode()


def rs256() -> str:
    head, body = b64(json.dumps(HEADER | {"alg": "RS256"}).encode()), b64(json.dumps(CLAIMS).encode())
    return b".".join((head, body, b64(RSA.sign(head + b"." + body, padding.PKCS1v15(), hashes.SHA256())))).decode()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CLAIMS.items() if key != name}


def cut() -> str:
    return signed(HEADER, CLAIMS)


FORGED: Final[dict[str, str]] = {
    "nothing": "",
    "no dots": "eyJhbGciOiJIUzI1NiJ9",
    "alg none": signed(HEADER | {"alg": "none"}, CLAIMS).rpartition(".")[0] + ".",
    "alg None in capitals": signed(HEADER | {"alg": "nOnE"}, CLAIMS).rpartition(".")[0] + ".",
    "alg none, signed": signed(HEADER | {"alg": "none"}, CLAIMS),
    "alg missing": signed({"kid": KID, "typ": "at+jwt"}, CLAIMS),
    "alg a list": signed(HEADER | {"alg": ["HS256"]}, CLAIMS),
    "HS384": signed(HEADER | {"alg": "HS384"}, CLAIMS),
    "HS512": signed(HEADER | {"alg": "HS512"}, CLAIMS, digest=sha512),
    "RS256 by a key of its own": rs256(),
    "HS256 by a public key": signed(HEADER, CLAIMS, PUBLIC),
    "another secret": signed(HEADER, CLAIMS, sha256(b"helix access token " + OTHER.encode()).digest()),
    "the bare secret": signed(HEADER, CLAIMS, SECRET.encode()),
    "an empty secret": signed(HEADER, CLAIMS, b""),
    "no signature": cut().rpartition(".")[0] + ".",
    "two parts": cut().rpartition(".")[0],
    "four parts": cut() + ".x",
    "five parts, as if sealed": cut() + ".x.y",
    "a bit of the signature": cut()[:-2] + ("AA" if cut()[-2:] != "AA" else "BB"),
    "another body under the signature": b".".join(
        (
            cut().encode().split(b".")[0],
            b64(json.dumps(CLAIMS | {"sub": SESSION}).encode()),
            cut().encode().split(b".")[2],
        )
    ).decode(),
    "kid missing": signed({"alg": "HS256", "typ": "at+jwt"}, CLAIMS),
    "kid unknown": signed(HEADER | {"kid": "ffffffffffffffff"}, CLAIMS),
    "kid a path": signed(HEADER | {"kid": "../../../../dev/null"}, CLAIMS, b""),
    "kid as SQL": signed(HEADER | {"kid": "x' UNION SELECT 'k"}, CLAIMS),
    "kid a list": signed(HEADER | {"kid": [KID]}, CLAIMS),
    "kid a number": signed(HEADER | {"kid": 1}, CLAIMS),
    "jwk in the head": signed(HEADER | {"jwk": EVIL_JWK}, CLAIMS, b"mine" * 8),
    "jku in the head": signed(HEADER | {"jku": "http://127.0.0.1:1/jwks"}, CLAIMS),
    "x5u in the head": signed(HEADER | {"x5u": "http://127.0.0.1:1/cert"}, CLAIMS),
    "x5c in the head": signed(HEADER | {"x5c": ["MII="]}, CLAIMS),
    "crit": signed(HEADER | {"crit": ["exp"]}, CLAIMS),
    "crit b64": signed(HEADER | {"crit": ["b64"], "b64": False}, CLAIMS),
    "typ JWT": signed(HEADER | {"typ": "JWT"}, CLAIMS),
    "typ missing": signed({"alg": "HS256", "kid": KID}, CLAIMS),
    "exp missing": signed(HEADER, without("exp")),
    "exp over": signed(HEADER, CLAIMS | {"exp": NOW - 60}),
    "exp as text": signed(HEADER, CLAIMS | {"exp": str(NOW + 60)}),
    "exp not a number": signed(HEADER, json.dumps(CLAIMS).replace(str(NOW + ACCESS_S), "NaN").encode()),
    "exp without end": signed(HEADER, json.dumps(CLAIMS).replace(str(NOW + ACCESS_S), "1e999").encode()),
    "exp null": signed(HEADER, CLAIMS | {"exp": None}),
    "iat in the future": signed(HEADER, CLAIMS | {"iat": NOW + 3600}),
    "nbf in the future": signed(HEADER, CLAIMS | {"nbf": NOW + 3600}),
    "iss missing": signed(HEADER, without("iss")),
    "iss another": signed(HEADER, CLAIMS | {"iss": "https://evil.example"}),
    "aud missing": signed(HEADER, without("aud")),
    "aud another": signed(HEADER, CLAIMS | {"aud": "another-api"}),
    "aud a list with ours": signed(HEADER, CLAIMS | {"aud": ["another-api", "helix-api"]}),
    "sub missing": signed(HEADER, without("sub")),
    "sub no id": signed(HEADER, CLAIMS | {"sub": "admin"}),
    "sub a number": signed(HEADER, CLAIMS | {"sub": 1}),
    "sid missing": signed(HEADER, without("sid")),
    "a right that nobody gave": signed(HEADER, CLAIMS | {"scope": "*"}),
    "claims a list": signed(HEADER, [CLAIMS]),
    "claims no JSON": signed(HEADER, b"\xff\xfe"),
    "claims deep": signed(HEADER, b'{"a":' * 400 + b"1" + b"}" * 400),
    "head no JSON": signed(b"{", CLAIMS),
    "head a list": signed([HEADER], CLAIMS),
    "letters beyond ASCII": cut().replace("e", "é", 1),
    "a space behind it": cut() + " ",
    "a megabyte": "eyJ" + "A" * 1_000_000,
    "a megabyte of dots": "." * 1_000_000,
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=list(FORGED))
def test_what_is_no_token_of_ours_opens_nothing_and_fetches_nothing(
    forged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a token made us call somebody")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    with pytest.raises(NoToken):
        tokens().read(forged)


def test_the_table_is_at_least_as_long_as_promised() -> None:
    assert len(FORGED) >= 40


def test_what_was_signed_is_read() -> None:
    access = tokens().read(tokens().sign(PERSON, SESSION))

    assert (access.person, access.session, access.expires_at) == (PERSON, SESSION, NOW + ACCESS_S)
    assert tokens().read(signed(HEADER, CLAIMS)) == access  # so each forged one differs in what it is named by


def test_a_token_ends() -> None:
    token = tokens().sign(PERSON, SESSION)

    with pytest.raises(NoToken) as refused:
        tokens(now=NOW + ACCESS_S + 6).read(token)

    assert refused.value.expired


def test_a_new_secret_comes_before_the_old_one_and_both_are_believed() -> None:
    before = tokens(SECRET).sign(PERSON, SESSION)
    during = tokens(f"{OTHER}, {SECRET}")

    assert during.read(before).person == PERSON
    assert tokens(OTHER).read(during.sign(PERSON, SESSION)).person == PERSON
    with pytest.raises(NoToken):
        tokens(OTHER).read(before)


@pytest.mark.parametrize("secrets", ["short", f"{SECRET},short"])
def test_a_short_secret_stops_the_process_and_is_not_repeated(secrets: str) -> None:
    with pytest.raises(SecretRefused) as refused:
        AccessTokens(secrets)

    assert "short" not in str(refused.value).replace("shorter", "")


def test_without_a_secret_nothing_is_signed_and_nothing_believed() -> None:
    with pytest.raises(SecretRefused):
        tokens("").sign(PERSON, SESSION)
    with pytest.raises(NoToken):
        tokens("").read(cut())


@given(st.text(max_size=300) | st.lists(st.text("abcEJy0._-=", max_size=40), max_size=6).map(".".join))
def test_no_text_is_ever_more_than_no_token(text: str) -> None:
    with pytest.raises(NoToken):
        tokens().read(text)


@given(
    st.dictionaries(
        st.sampled_from([*HEADER, "crit", "jwk", "zip"]), st.none() | st.integers() | st.text() | st.lists(st.text())
    ),
    st.dictionaries(st.sampled_from([*CLAIMS, "nbf"]), st.none() | st.floats() | st.integers() | st.text()),
)
def test_no_head_and_no_claims_bring_more_than_no_token(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """Rightly signed, so that everything behind the signature is reached."""
    for made in (signed(header, claims), signed(HEADER, claims), signed(HEADER, CLAIMS | claims)):
        try:
            access = tokens().read(made)
        except NoToken:
            continue
        assert access.person and access.session
