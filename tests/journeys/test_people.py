"""People: signed up by mail, in and out, kept signed in, changed, and nobody else let in."""

from __future__ import annotations

import asyncio
import io
import json
import re
import secrets
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import asyncpg
import pytest

from app.mail.mailbox import KeptMail, kept_mails
from tests.journeys.client import Answer, Client, client_of, question
from tests.journeys.running import Helix
from tests.people.test_tokens import FORGED

PASSWORD = "eleven blue herons"
SOON_S = 5.0
"""The promise: within so many seconds a session that is over is refused."""
HEAD_BYTES_MAX = 32_000


@dataclass(frozen=True)
class Person:
    email: str
    tokens: Any

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens['access_token']}"}


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error["code"]


async def until(done: Callable[[], Awaitable[bool]], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not await done():  # noqa: ASYNC110  # the other side is another process
            await asyncio.sleep(0.1)


async def mails_to(helix: Helix, address: str, count: int = 1) -> list[KeptMail]:
    """The mails to this address, newest first, once there are so many."""
    found: list[KeptMail] = []

    async def come() -> bool:
        found[:] = [mail for mail in kept_mails(helix.data / "mails") if mail.to == address]
        return len(found) >= count

    await until(come)
    return found


def link_in(mail: KeptMail) -> str:
    found = re.search(r"/account/\w+#(\S+)", mail.text)
    assert found, mail.text
    return found[1]


def new_address() -> str:
    return f"{secrets.token_hex(6)}@example.org"


async def sign_in(client: Client, email: str, password: str = PASSWORD, **more: object) -> Answer:
    return await client.post("/v1/auth/sign-in", {"email": email, "password": password} | more)


@pytest.fixture
async def nobody(helix: Helix) -> Any:
    async with client_of(helix.base_url, None) as made:
        yield made


@pytest.fixture
async def person(helix: Helix, nobody: Client) -> Person:
    """Signed up and in."""
    email = new_address()
    assert (await nobody.post("/v1/auth/sign-up", {"email": email, "password": PASSWORD})).status == 202
    [mail] = await mails_to(helix, email)
    assert (await nobody.post("/v1/auth/verify", {"token": link_in(mail)})).status == 200
    answer = await sign_in(nobody, email)
    assert answer.status == 200, answer.body
    return Person(email, answer.json)


async def refused_soon(nobody: Client, person: Person, code: str = "invalid_access_token") -> None:
    async def over() -> bool:
        answer = await nobody.get("/v1/models", **person.bearer)
        return answer.status == 401 and told(answer) == (401, code)

    await until(over, SOON_S)


async def test_a_person_signs_up_by_mail_and_asks_with_a_token(helix: Helix, nobody: Client, person: Person) -> None:
    answered = await nobody.complete(question("hello"), **person.bearer)
    key = await nobody.post("/v1/api-keys", {"name": "mine"}, **person.bearer)
    me = (await nobody.get("/v1/users/me", **person.bearer)).json

    assert answered.text == "hello"
    assert (key.status, key.json["expires_at"]) == (201, None)
    assert (me["email"], me["name"], me["tier"], me["has_password"]) == (person.email, None, "free", True)
    async with client_of(helix.base_url, key.json["key"]) as holder:
        assert (await holder.complete(question("by key"))).text == "by key"


async def test_a_link_opens_once_and_nothing_is_there_before(helix: Helix, nobody: Client) -> None:
    email = new_address()
    await nobody.post("/v1/auth/sign-up", {"email": email.upper(), "password": PASSWORD})
    [mail] = await mails_to(helix, email)
    before = await sign_in(nobody, email)
    first = await nobody.post("/v1/auth/verify", {"token": link_in(mail)})
    second = await nobody.post("/v1/auth/verify", {"token": link_in(mail)})

    assert told(before) == (401, "invalid_credentials")
    assert first.json["status"] == "verified"
    assert told(second) == (400, "link_over")


async def test_a_mailed_link_leads_to_a_page_that_holds_nothing_of_it(helix: Helix, nobody: Client) -> None:
    email = new_address()
    await nobody.post("/v1/auth/sign-up", {"email": email, "password": PASSWORD})
    [mail] = await mails_to(helix, email)

    listed = next(each for each in await helix.ask("mail", "list") if each["to"] == email)
    read_aloud = await helix.ask("mail", "show", str(listed["number"]))
    [page] = re.findall(rf"{helix.base_url}(/account/verify)#", mail.text)
    shown = await nobody.get(page)

    assert (read_aloud["subject"], read_aloud["text"]) == (mail.subject, mail.text)
    assert "text" not in listed
    assert shown.status == 200
    assert b'data-door="/v1/auth/verify"' in shown.body
    assert "script-src 'sha256-" in shown.headers["content-security-policy"]
    assert "unsafe" not in shown.headers["content-security-policy"]


async def test_nobody_learns_who_has_an_account(helix: Helix, nobody: Client, person: Person) -> None:
    stranger = new_address()

    ups = [
        await nobody.post("/v1/auth/sign-up", {"email": email, "password": "twelve red herons"})
        for email in (person.email, stranger)
    ]
    ins = [await sign_in(nobody, email, "another password") for email in (person.email, new_address())]
    forgot = [await nobody.post("/v1/auth/forgot", {"email": email}) for email in (person.email, new_address())]

    for pair in (ups, ins, forgot):
        assert len({(answer.status, answer.json.get("status"), str(answer.json.get("error"))) for answer in pair}) == 1
    reset, already, _ = await mails_to(helix, person.email, 3)
    assert (reset.subject, already.subject) == ("A new password", "You have an account already")
    assert (await sign_in(nobody, person.email)).status == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"email": "no address", "password": PASSWORD}, "email"),
        ({"email": "anna@example.org", "password": "short"}, "password"),
        ({"email": "anna@example.org", "password": "Password123!"}, "password"),
        ({"email": "anna@example.org"}, "password"),
        ({"email": "anna@example.org", "password": PASSWORD, "tier": "enterprise"}, "tier"),
    ],
)
async def test_a_sign_up_that_makes_no_sense_is_refused_by_its_field(
    nobody: Client, body: dict[str, object], where: str
) -> None:
    answer = await nobody.post("/v1/auth/sign-up", body)

    assert (answer.status, answer.error["param"]) == (400, where)
    assert PASSWORD.encode() not in answer.body


async def test_guesses_of_one_persons_password_are_slowed_down(nobody: Client) -> None:
    email = new_address()

    answers = await asyncio.gather(*(sign_in(nobody, email, f"guess number {number}") for number in range(14)))

    statuses = [answer.status for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (10, 4)
    late = next(answer for answer in answers if answer.status == 429)
    assert (late.error["code"], int(late.headers["retry-after"]) > 0) == ("too_many_sign_ins", True)


async def test_nobody_fills_a_mailbox(helix: Helix, nobody: Client, person: Person) -> None:
    answers = [await nobody.post("/v1/auth/forgot", {"email": person.email}) for _ in range(6)]
    other = new_address()
    await nobody.post("/v1/auth/sign-up", {"email": other, "password": PASSWORD})
    await mails_to(helix, other)  # sent behind those that were put in before

    assert {answer.status for answer in answers} == {202}
    assert len(await mails_to(helix, person.email, 3)) == 3  # the sign-up's own is one of them


async def test_a_refresh_token_is_good_once(nobody: Client, person: Person) -> None:
    first = await nobody.post("/v1/auth/refresh", {"refresh_token": person.tokens["refresh_token"]})
    second = await nobody.post("/v1/auth/refresh", {"refresh_token": first.json["refresh_token"]})

    assert (first.status, second.status) == (200, 200)
    assert {answer.json["id"] for answer in (first, second)} == {person.tokens["id"]}
    assert (await nobody.get("/v1/users/me", **Person("", second.json).bearer)).status == 200


async def test_a_refresh_token_that_comes_again_ends_its_session_and_its_owner_is_told(
    helix: Helix, nobody: Client, person: Person
) -> None:
    other = (await sign_in(nobody, person.email)).json
    thief = await nobody.post("/v1/auth/refresh", {"refresh_token": person.tokens["refresh_token"]})
    owner = await nobody.post("/v1/auth/refresh", {"refresh_token": person.tokens["refresh_token"]})
    then = await nobody.post("/v1/auth/refresh", {"refresh_token": thief.json["refresh_token"]})

    assert (thief.status, told(owner), told(then)) == (200, (401, "session_over"), (401, "session_over"))
    await refused_soon(nobody, Person("", thief.json))
    assert (await nobody.get("/v1/users/me", **Person("", other).bearer)).status == 200
    newest, *_ = await mails_to(helix, person.email, 2)
    assert newest.subject == "A session of yours was ended"
    ended = [fact for fact in await facts_of(helix, "session.ended") if person.tokens["id"] in fact["sessions"]]
    assert [fact["why"] for fact in ended] == ["refresh_reused"]


async def facts_of(helix: Helix, type: str) -> list[Any]:
    """The bodies of the facts of this type that the log has, once there is one."""
    found: list[Any] = []

    async def come() -> bool:
        found[:] = [entry["body"] for entry in await helix.ask("log", "--type", type)]
        return bool(found)

    await until(come)
    return found


async def test_many_refreshes_with_one_token_make_one_successor_at_most(nobody: Client, person: Person) -> None:
    body = {"refresh_token": person.tokens["refresh_token"]}

    answers = await asyncio.gather(*(nobody.post("/v1/auth/refresh", body) for _ in range(8)))

    assert sorted(answer.status for answer in answers) == [200] + [401] * 7


async def test_signing_out_ends_this_session_soon_and_on_open_event_streams(nobody: Client, person: Person) -> None:
    other = Person("", (await sign_in(nobody, person.email)).json)
    slow = question("[delay_ms=20000] slow", "sandbox/faulty")
    asked = await nobody.complete(slow, prefer="respond-async", **person.bearer)

    async with nobody.sending("GET", f"/v1/requests/{asked.json['id']}/events", **person.bearer) as stream:
        await stream.content.readany()
        out = await nobody.post("/v1/auth/sign-out", {}, **person.bearer)
        async with asyncio.timeout(SOON_S):
            heard = await stream.content.read()

    assert b"no longer valid" in heard
    assert out.json["status"] == "signed_out"
    await refused_soon(nobody, person)
    assert (await nobody.get("/v1/users/me", **other.bearer)).status == 200
    again = await nobody.post("/v1/auth/refresh", {"refresh_token": person.tokens["refresh_token"]})
    assert told(again) == (401, "session_over")


async def test_signing_out_everywhere_ends_every_session(nobody: Client, person: Person) -> None:
    other = Person("", (await sign_in(nobody, person.email)).json)

    await nobody.post("/v1/auth/sign-out", {"everywhere": True, "refresh_token": other.tokens["refresh_token"]})

    await refused_soon(nobody, person)
    await refused_soon(nobody, other)


async def test_a_suspended_person_is_refused_everywhere_and_let_in_again(
    helix: Helix, nobody: Client, person: Person
) -> None:
    key = (await nobody.post("/v1/api-keys", {}, **person.bearer)).json["key"]

    await helix.ask("user", "suspend", person.email)
    await refused_soon(nobody, person)
    assert (await nobody.get("/v1/models", authorization=f"Bearer {key}")).status == 401
    assert told(await sign_in(nobody, person.email)) == (403, "account_suspended")
    refreshed = await nobody.post("/v1/auth/refresh", {"refresh_token": person.tokens["refresh_token"]})
    assert told(refreshed) == (401, "session_over")

    await helix.ask("user", "resume", person.email)
    assert (await sign_in(nobody, person.email)).status == 200


async def test_a_forgotten_password_is_chosen_anew_by_mail(helix: Helix, nobody: Client, person: Person) -> None:
    await nobody.post("/v1/auth/forgot", {"email": person.email})
    mail, _ = await mails_to(helix, person.email, 2)
    weak = await nobody.post("/v1/auth/reset", {"token": link_in(mail), "password": "password123"})
    done = await nobody.post("/v1/auth/reset", {"token": link_in(mail), "password": "twelve red herons"})
    again = await nobody.post("/v1/auth/reset", {"token": link_in(mail), "password": "thirteen herons"})

    assert (told(weak), done.status, told(again)) == ((400, "password_refused"), 200, (400, "link_over"))
    await refused_soon(nobody, person)
    assert (await sign_in(nobody, person.email)).status == 401
    assert (await sign_in(nobody, person.email, "twelve red herons")).status == 200


async def test_a_person_changes_name_and_password(helix: Helix, nobody: Client, person: Person) -> None:
    other = Person("", (await sign_in(nobody, person.email)).json)

    async def change(**body: object) -> Answer:
        return await nobody.send("PATCH", "/v1/users/me", body, **person.bearer)

    named = await change(name="Anna 🦜 Schmidt")
    wrong = await change(password="twelve red herons", current_password="a wrong one")
    bare = await change(password="twelve red herons")
    right = await change(password="twelve red herons", current_password=PASSWORD)
    unnamed = await change(name=None)

    assert (named.json["name"], unnamed.json["name"]) == ("Anna 🦜 Schmidt", None)
    assert (told(wrong), told(bare)) == ((403, "password_wrong"), (403, "password_wrong"))
    assert right.status == 200
    await refused_soon(nobody, other)
    assert (await nobody.get("/v1/users/me", **person.bearer)).status == 200
    assert (await sign_in(nobody, person.email, "twelve red herons")).status == 200
    newest, *_ = await mails_to(helix, person.email, 2)
    assert newest.subject == "Your password was changed"


async def test_a_new_address_holds_once_its_link_was_opened(helix: Helix, nobody: Client, person: Person) -> None:
    moved = new_address()
    body = {"email": moved, "current_password": PASSWORD}

    asked = await nobody.send("PATCH", "/v1/users/me", body, **person.bearer)
    [mail] = await mails_to(helix, moved)
    before = (await nobody.get("/v1/users/me", **person.bearer)).json["email"]
    opened = await nobody.post("/v1/auth/verify", {"token": link_in(mail)})
    after = (await nobody.get("/v1/users/me", **person.bearer)).json["email"]

    assert (asked.json["pending_email"], asked.json["email"]) == (True, person.email)
    assert (before, opened.status, after) == (person.email, 200, moved)
    assert (await sign_in(nobody, moved)).status == 200
    newest, *_ = await mails_to(helix, person.email, 2)
    assert newest.subject == "Your e-mail address was changed"


async def test_a_key_changes_neither_address_nor_password(client: Client) -> None:
    answer = await client.send("PATCH", "/v1/users/me", {"password": "twelve red herons", "current_password": "x"})

    assert answer.status == 403


async def test_sessions_are_listed_and_ended_by_their_owner_alone(
    nobody: Client, person: Person, client: Client
) -> None:
    other = (await sign_in(nobody, person.email)).json

    listed = (await nobody.get("/v1/users/me/sessions", **person.bearer)).json["data"]
    path = f"/v1/users/me/sessions/{other['id']}"
    strangers = [await client.send("DELETE", each) for each in (path, path[:-12] + "0" * 12, path[:-36] + "x")]
    ended = await nobody.send("DELETE", path, **person.bearer)

    assert {(each["id"], each["current"]) for each in listed} == {(person.tokens["id"], True), (other["id"], False)}
    assert all(each["browser"] for each in listed)
    assert len({told(answer) for answer in strangers}) == 1
    assert ended.status == 200
    await refused_soon(nobody, Person("", other))


async def test_a_browser_keeps_its_session_in_cookies_that_only_our_pages_use(
    helix: Helix, nobody: Client, person: Person
) -> None:
    ours = {"sec_fetch_site": "same-origin"}
    body = {"email": person.email, "password": PASSWORD, "cookies": True}
    strange = await nobody.post("/v1/auth/sign-in", body, sec_fetch_site="cross-site")
    async with nobody.sending("POST", "/v1/auth/sign-in", body, sec_fetch_site="same-origin") as answer:
        given = answer.headers.getall("set-cookie")
        tokens = await answer.json()
    jar = {name: morsel for text in given for name, morsel in SimpleCookie(text).items()}
    sent = {"cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())}

    assert told(strange) == (403, "cross_site")
    assert (tokens["access_token"], tokens["refresh_token"]) == (None, None)
    assert set(jar) == {"__Host-helix_access", "__Host-helix_refresh"}
    assert all(m["secure"] and m["httponly"] and m["samesite"] == "lax" and m["path"] == "/" for m in jar.values())
    assert not any(morsel["domain"] for morsel in jar.values())

    assert (await nobody.get("/v1/users/me", **sent)).json["email"] == person.email
    assert (await nobody.complete(question("hello"), **sent, **ours)).text == "hello"
    assert (await nobody.complete(question("hello"), **sent, origin=helix.base_url)).text == "hello"
    for page in (
        {},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example"},
    ):
        assert told(await nobody.complete(question("hello"), **sent, **page)) == (403, "cross_site")
        assert told(await nobody.post("/v1/auth/refresh", {}, **sent, **page)) == (403, "cross_site")
    assert (await nobody.post("/v1/auth/refresh", {}, **sent, **ours)).status == 200
    assert (await nobody.post("/v1/auth/sign-out", {}, **sent, **ours)).status == 200


async def test_no_forged_token_opens_any_door(nobody: Client) -> None:
    for name, forged in FORGED.items():
        if not forged.isascii() or len(forged) > HEAD_BYTES_MAX or not forged.strip() or forged != forged.strip():
            continue  # no header of HTTP, or one that the door refuses before it is read
        for headers in ({"authorization": f"Bearer {forged}"}, {"x_api_key": forged}):
            assert (await nobody.get("/v1/models", **headers)).status == 401, name


async def test_no_secret_of_people_stands_in_what_the_processes_say(
    helix: Helix, nobody: Client, person: Person
) -> None:
    password = f"canary {secrets.token_hex(8)}"
    await nobody.send("PATCH", "/v1/users/me", {"password": password, "current_password": PASSWORD}, **person.bearer)
    await nobody.post("/v1/auth/forgot", {"email": person.email})
    mail, *_ = await mails_to(helix, person.email, 3)
    signed_in = (await sign_in(nobody, person.email, password)).json
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()

    canaries = [password, link_in(mail), signed_in["access_token"], signed_in["refresh_token"]]
    places = [helix.stderr, *(file for file in helix.data.rglob("*") if file.is_file() and file.parent.name != "mails")]
    found = await asyncio.to_thread(
        lambda: [
            (place.name, at) for place in places for at, each in enumerate(canaries) if each.encode() in read(place)
        ]
    )

    assert found == []


def read(place: Any) -> bytes:
    try:
        content: bytes = place.read_bytes()
    except OSError:  # a socket, or gone meanwhile
        return b""
    return content


async def test_who_signs_in_again_takes_the_deletion_of_his_account_back(
    helix: Helix, nobody: Client, person: Person
) -> None:
    asked = await nobody.send("DELETE", "/v1/users/me", **person.bearer)
    assert asked.status == 202, asked.body
    await refused_soon(nobody, person)
    [told_of, _] = await mails_to(helix, person.email, 2)
    assert asked.json["restore_token"] in told_of.text

    back = await sign_in(nobody, person.email)

    assert back.status == 200, back.body
    me = await nobody.get("/v1/users/me", authorization=f"Bearer {back.json['access_token']}")
    assert me.json["email"] == person.email


async def test_a_person_takes_everything_with_him(nobody: Client, person: Person) -> None:
    asked = await nobody.complete(question("to be taken away", conversation_id="diary"), **person.bearer)
    assert asked.status == 200
    begun = await nobody.get("/v1/users/me/export", **person.bearer)
    again = await nobody.get("/v1/users/me/export", **person.bearer)
    assert (begun.status, again.json["id"]) == (202, begun.json["id"])

    async def ready() -> bool:
        return (await nobody.get(begun.headers["location"], **person.bearer)).status == 200

    await until(ready)
    fetched = await nobody.get(begun.headers["location"], **person.bearer)
    assert fetched.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(fetched.body)) as archive:
        [user] = json.loads(archive.read("users.json"))
        sessions = json.loads(archive.read("sessions.json"))
    assert (user["email"], len(sessions)) == (person.email, 1)
    assert "password_hash" not in user


async def test_what_is_agreed_to_is_written_down_with_its_version(helix: Helix, nobody: Client, person: Person) -> None:
    page = await nobody.get("/terms")
    shown = (await nobody.get("/v1/users/me/consents", **person.bearer)).json
    current = shown["current"]["terms"]
    assert f"Version {current}" in page.body.decode()

    old = await nobody.post("/v1/users/me/consents", {"document": "terms", "version": "1999"}, **person.bearer)
    given = await nobody.post("/v1/users/me/consents", {"document": "terms", "version": current}, **person.bearer)
    await nobody.post("/v1/users/me/consents", {"document": "terms", "version": current}, **person.bearer)
    email = new_address()
    stale = await nobody.post("/v1/auth/sign-up", {"email": email, "password": PASSWORD, "accepted_terms": "1999"})
    body = {"email": email, "password": PASSWORD, "accepted_terms": current}
    assert (await nobody.post("/v1/auth/sign-up", body)).status == 202
    [mail] = await mails_to(helix, email)
    await nobody.post("/v1/auth/verify", {"token": link_in(mail)})
    token = (await sign_in(nobody, email)).json["access_token"]
    new = (await nobody.get("/v1/users/me/consents", authorization=f"Bearer {token}")).json["data"]

    assert (shown["data"], told(old), told(stale)) == ([], (409, "other_version"), (409, "other_version"))
    assert [(one["document"], one["version"]) for one in given.json["data"]] == [("terms", current)]
    assert [(one["document"], one["version"]) for one in new] == [("terms", current)]
