"""Sign-in through somebody else, from browser to browser: our doors and a real issuer, over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from pydantic import SecretStr

from app import accounts
from app.http.leaving import Leaving
from app.main import application
from app.people.issuers.named import IssuersRefused, issuers
from app.settings import Settings
from tests.conftest import MakeSettings
from tests.fakes.issuer import CLIENT, SECRET, FakeIssuer, running
from tests.http.serving import serving

FILE = """
[[issuer]]
name = "corporate"
issuer = "{base}"
client_id = "{client}"
client_secret_env = "CORPORATE_SECRET"
"""


@dataclass
class Browser:
    """Cookies, and no following of redirects."""

    base: str
    jar: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str) -> tuple[int, str, Any]:
        """Status, location, document."""
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.base + path, headers=headers, allow_redirects=False) as answer,
        ):
            for text in answer.headers.getall("set-cookie", []):
                for name, morsel in SimpleCookie(text).items():
                    assert morsel["secure"] and morsel["httponly"] and morsel["path"] == "/"
                    self.jar[name] = morsel.value
            told = await answer.json() if answer.content_type == "application/json" else None
            return answer.status, answer.headers.get("location", ""), told


@dataclass
class Place:
    fake: FakeIssuer
    base: str
    settings: Settings

    async def sign_in(self, browser: Browser, then: str = "") -> tuple[int, str, Any]:
        status, there, told = await browser.get(f"/v1/auth/oidc/corporate/start{then}")
        assert status == 303, told
        return await browser.get(path_of(self.fake.visit(there)))


def path_of(url: str) -> str:
    at = urlsplit(url)
    return f"{at.path}?{at.query}"


@pytest.fixture
async def place(make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setenv("CORPORATE_SECRET", SECRET)
    async with running(FakeIssuer()) as fake:
        fake.person["email"] = f"{secrets.token_hex(6)}@example.org"
        (tmp_path / "issuers.toml").write_text(FILE.format(base=fake.base, client=CLIENT))
        chosen = make_settings(
            helix_sign_in=tmp_path / "issuers.toml",
            helix_mail_dir=tmp_path / "mails",
            jwt_secret_key=secrets.token_hex(32),
            helix_public_url="https://helix.example",
        )
        async with serving(application(chosen, Leaving())) as port:
            yield Place(fake, f"http://127.0.0.1:{port}", chosen)


async def test_a_stranger_becomes_a_person_and_comes_again_as_the_same(place: Place) -> None:
    first, second = Browser(place.base), Browser(place.base)

    listed = (await first.get("/v1/auth/providers"))[2]
    came = await place.sign_in(first, "?next=/docs%23people")
    await place.sign_in(second)
    me, again = (await first.get("/v1/users/me"))[2], (await second.get("/v1/users/me"))[2]
    sessions = (await second.get("/v1/users/me/sessions"))[2]["data"]

    assert [each["name"] for each in listed["data"]] == ["corporate"]
    assert came[:2] == (303, "/docs#people")
    assert (me["email"], me["has_password"], me["sign_ins"]) == (place.fake.person["email"], False, ["corporate"])
    assert me == again
    assert {each["signed_in_with"] for each in sessions} == {"corporate"}


async def test_an_account_is_linked_by_a_tried_address_and_its_owner_told(place: Place) -> None:
    connection = await asyncpg.connect(place.settings.database)
    try:
        made = await accounts.create_user(connection, place.fake.person["email"])
        browser = Browser(place.base)
        await place.sign_in(browser)
        waiting = await connection.fetchval("SELECT count(*) FROM mails")
    finally:
        await connection.close()

    assert (await browser.get("/v1/users/me"))[2]["id"] == made.id
    assert waiting == 1


async def test_an_address_that_was_not_tried_opens_no_account(place: Place) -> None:
    connection = await asyncpg.connect(place.settings.database)
    try:
        await accounts.create_user(connection, place.fake.person["email"])
        place.fake.person["email_verified"] = False
        status, _, told = await place.sign_in(Browser(place.base))
        linked = await connection.fetchval("SELECT count(*) FROM outside_identities")
    finally:
        await connection.close()

    assert (status, told["error"]["code"], linked) == (403, "email_not_verified", 0)


async def test_who_has_not_begun_here_does_not_end_here(place: Place) -> None:
    thief, victim = Browser(place.base), Browser(place.base)
    _, there, _ = await thief.get("/v1/auth/oidc/corporate/start")
    back = path_of(place.fake.visit(there))

    planted = await victim.get(back)  # a link to the thief's own account
    await victim.get("/v1/auth/oidc/corporate/start")
    begun = await victim.get(back)
    honest = await thief.get(back)
    twice = await thief.get(back)

    assert {planted[2]["error"]["code"], begun[2]["error"]["code"]} == {"sign_in_not_begun"}
    assert "__Host-helix_access" not in victim.jar
    assert (honest[0], twice[0]) == (303, 400)


@pytest.mark.parametrize("then", ["https://evil.example", "//evil.example", "/\\evil.example", "docs", "/a\tb"])
async def test_nobody_is_sent_on_to_another_host(place: Place, then: str) -> None:
    from urllib.parse import quote

    status, _, told = await Browser(place.base).get(f"/v1/auth/oidc/corporate/start?next={quote(then)}")

    assert (status, told["error"]["param"]) == (400, "next")


async def test_what_goes_wrong_at_the_issuer_is_said_in_our_words(place: Place) -> None:
    browser = Browser(place.base)
    _, there, _ = await browser.get("/v1/auth/oidc/corporate/start")
    back = path_of(place.fake.visit(there))
    refused = await browser.get(back.replace("code=", "error=access_denied&x="))
    place.fake.twist = lambda claims: claims | {"aud": "somebody-else"}
    unproven = await place.sign_in(Browser(place.base))
    unknown = await browser.get("/v1/auth/oidc/nobody/start")

    assert (refused[0], refused[2]["error"]["code"]) == (403, "sign_in_refused")
    assert (unproven[0], unproven[2]["error"]["code"]) == (403, "sign_in_unproven")
    assert unknown[0] == 404


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (FILE.format(base="http://issuer.example", client="x"), "TLS"),
        (FILE.format(base="https://issuer.example", client="x") * 2, "two issuers"),
        (FILE.format(base="https://issuer.example", client="x").replace("corporate", "No Name"), "no name"),
        (FILE.format(base="https://issuer.example", client="x").replace("CORPORATE", "MISSING"), "MISSING_SECRET"),
        ("[[issuer]]\nname = 'x'\n", "Field required"),
        ("not toml", "HELIX_SIGN_IN"),
    ],
)
def test_issuers_that_make_no_sense_stop_the_process(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, why: str
) -> None:
    monkeypatch.setenv("CORPORATE_SECRET", SECRET)
    (tmp_path / "issuers.toml").write_text(file)

    with pytest.raises(IssuersRefused, match=why) as refused:
        issuers(make_settings(helix_sign_in=tmp_path / "issuers.toml"))

    assert SECRET not in str(refused.value)


def test_google_and_github_need_their_clients_alone(make_settings: MakeSettings) -> None:
    chosen = make_settings(
        google_client_id="a",
        google_client_secret=SecretStr("b"),
        github_client_id="c",
        github_client_secret=SecretStr("d"),
    )

    assert list(issuers(chosen)) == ["google", "github"]
