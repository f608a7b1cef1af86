"""What is said stays sealed (A23): no prompt, answer, API key, customer's provider key, password, token, name or browser stands
anywhere in clear, and an e-mail address only where people sign in by it.

One rule: the search must find what is there (the request's id), or it proves nothing.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.log import keys
from app.mail.mailbox import kept_mails
from tests.journeys.books import Books, books_of, soon
from tests.journeys.client import Client, client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix

OVERLAP = 512
"""What is kept of one piece of a file while the next is read; above any form of a canary."""

PIECE = 8 * 1024 * 1024


READABLE = ("data/postgres/", "data/mails/", "keys:")
"""Where an address may stand: `users.email`, which the contract keeps readable, mails that `up` keeps to be read, and the
operator's list of keys."""


@dataclass(frozen=True)
class Canaries:
    """What must be found nowhere."""

    prompt: str
    answer: str
    key: str


@dataclass
class Person:
    """Somebody who signs up, and what he says and is given. All of it must be found nowhere; the address, hardly."""

    email: str
    password: str
    name: str
    browser: str
    provider_key: str
    given: dict[str, str] = field(default_factory=dict)
    """Tokens and keys that he gets."""

    @property
    def secrets(self) -> dict[str, str]:
        own = {"password": self.password, "name": self.name, "browser": self.browser, "provider key": self.provider_key}
        return own | self.given


@pytest.fixture(scope="module")
def aviary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helix]:
    """A Helix of its own: every byte below its directory is looked at."""
    data = tmp_path_factory.mktemp("aviary") / "data"
    # Nobody listens there: a customer's key gets as far as the call, and the call breaks.
    with helix_on(data, HELIX_LOG_LEVEL="debug", OPENAI_BASE_URL="http://127.0.0.1:9/v1") as running:
        yield running


def forms(canary: str) -> dict[str, bytes]:
    """The canary as it could stand somewhere: as it is, in hex, and in base64 at each of the three offsets."""
    raw = canary.encode()
    found = {
        "clear": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "utf-16": canary.encode("utf-16-le"),
    }
    for offset in range(3):
        # The first and the last characters also carry bits of the neighbours.
        text = base64.b64encode(b"\0" * offset + raw)[4 if offset else 0 : -4]
        found[f"base64+{offset}"] = text
        found[f"base64url+{offset}"] = text.replace(b"+", b"-").replace(b"/", b"_")
    return found


def places_with(directory: Path, wanted: dict[str, bytes]) -> set[str]:
    """`file: form` for every file below the directory that holds one of the forms."""
    hits = set()
    for file in directory.rglob("*"):
        if not file.is_file():
            continue
        with file.open("rb") as opened:
            before = b""
            while piece := opened.read(PIECE):
                window = before + piece
                hits |= {f"{file.relative_to(directory)}: {form}" for form, text in wanted.items() if text in window}
                before = window[-OVERLAP:]
    return hits


async def live_through(helix: Helix, canaries: Canaries, client: Client) -> str:
    """Everything that a prompt can go through → the id of one of its requests."""
    prompt = f"{canaries.prompt} {canaries.answer}"
    first = await client.complete(question(prompt, store=True), idempotency_key=secrets.token_hex(8))
    assert first.text == prompt
    await client.complete(
        question(f"[chunk_delay_ms=5] {prompt}", "sandbox/faulty", stream=True, conversation_id="talk")
    )
    await client.end_of(await client.submit(question(prompt)))
    await client.complete(question(f"[status=400] {prompt}", "sandbox/faulty"))
    await client.complete(question(f"[garbage] {prompt}", "sandbox/faulty"))
    await client.complete(question(f"[error_after=2] {prompt}", "sandbox/faulty", stream=True))
    cut = await client.submit(question(f"[chunk_delay_ms=200] {prompt}", "sandbox/faulty", stream=True))
    await client.post(f"/v1/requests/{cut}/cancel")
    await client.complete(
        {"model": "sandbox/echo", "messages": [{"role": canaries.prompt, "content": canaries.prompt}]}
    )
    await client.complete(question(canaries.prompt, f"model-{secrets.token_hex(4)}"))
    await client.complete(question("hello", temperature=canaries.prompt))
    await client.complete(f'{{"model": "{canaries.prompt}'.encode())
    await client.get(f"/v1/requests/{first.request}/events")
    await client.get("/v1/models", authorization=f"Bearer {canaries.key}x")
    await client.get("/v1/models", x_api_key=canaries.key)
    await helix.ask("replay", "requests", "--verify")
    await helix.ask("log")
    return first.request


async def signs_up(helix: Helix, person: Person, nobody: Client) -> None:
    """Everything that a person's secrets can go through, with what can go wrong on the way."""
    browser = {"user_agent": person.browser}
    who = {"email": person.email, "password": person.password}
    bodies: list[object] = [who | {"tier": person.name}, {"email": person.password}]
    for body in (*bodies, f'{{"password": "{person.password}'.encode()):
        assert (await nobody.post("/v1/auth/sign-up", body)).status == 400
    assert (await nobody.post("/v1/auth/sign-up", who)).status == 202
    link = await link_to(helix, person.email)
    await nobody.post("/v1/auth/verify", {"token": link})
    assert (await nobody.post("/v1/auth/verify", {"token": link})).status == 400
    assert (await nobody.post("/v1/auth/sign-in", who | {"password": f"{person.password}x"}, **browser)).status == 401
    first = (await nobody.post("/v1/auth/sign-in", who, **browser)).json
    second = (await nobody.post("/v1/auth/refresh", {"refresh_token": first["refresh_token"]}, **browser)).json
    bearer = {"authorization": f"Bearer {second['access_token']}"}
    broken = {"authorization": f"Bearer {second['access_token']}x"}
    assert (await nobody.get("/v1/users/me", **broken)).status == 401
    assert (await nobody.send("PATCH", "/v1/users/me", {"name": person.name}, **bearer)).status == 200
    assert (await nobody.send("PATCH", "/v1/users/me", {"name": [person.name]}, **bearer)).status == 400
    key = (await nobody.post("/v1/api-keys", {"name": "laptop"}, **bearer)).json["key"]
    path = "/v1/provider-keys/openai"
    for key_sent in (f"{person.provider_key} ", [person.provider_key]):
        assert (await nobody.send("PUT", path, {"api_key": key_sent}, **bearer)).status == 400
    assert (await nobody.send("PUT", path, {"api_key": person.provider_key}, **bearer)).status == 200
    called = await nobody.complete(question("hello", "openai/gpt-4o-mini"), **bearer)
    assert (called.status, called.error["code"]) == (502, "provider_unreachable")
    assert (await nobody.post("/v1/auth/forgot", {"email": person.email})).status == 202
    person.given = {"key": key} | {
        f"{kind} {number}": tokens[kind]
        for number, tokens in enumerate((first, second))
        for kind in ("access_token", "refresh_token")
    }


async def link_to(helix: Helix, address: str) -> str:
    """The word in the first mail to this address."""
    found: list[str] = []

    async def came() -> bool:
        mails = [mail for mail in kept_mails(helix.data / "mails") if mail.to == address]
        found[:] = re.findall(r"#(\S{30,})", mails[0].text) if mails else []
        return bool(found)

    await soon(came)
    return found[0]


async def cached(helix: Helix) -> bytes:
    """All that the cache server holds."""
    async with Redis.from_url(helix.facts["cache_url"]) as cache:
        held = [name + b" " + (await cache.dump(name) or b"") async for name in cache.scan_iter()]
    return b"\n".join(held)


async def test_neither_prompt_nor_answer_nor_any_secret_stands_anywhere_in_clear(aviary: Helix) -> None:
    account = await aviary.account()
    canary = secrets.token_hex(12)
    person = Person(
        f"finch{canary}@example.org", f"heron {canary}", f"Robin {canary}", f"Magpie/{canary}", f"sk-wagtail-{canary}"
    )
    canaries = Canaries(f"canary{secrets.token_hex(16)}", f"wren{secrets.token_hex(16)}", account.key)
    async with client_of(aviary.base_url, account.key) as client, books_of(aviary.now()) as books:
        request = await live_through(aviary, canaries, client)
        async with client_of(aviary.base_url, None) as nobody:
            await signs_up(aviary, person, nobody)
        await books.caught_up()
        archive = await archived(books)
        await books.database.execute("CHECKPOINT")
        metrics = (await client.get("/metrics")).body
        cache = await cached(aviary)
        audited = (await asyncio.to_thread(aviary.run, "audit", "export")).stdout
        listed = await aviary.ask("key", "list")
        shown = {"log": (await aviary.ask("log")), "audit": audited}

    forms_of_all = {
        f"{name} in {form}": text
        for name, canary in (
            ("prompt", canaries.prompt),
            ("answer", canaries.answer),
            ("key of an account", canaries.key),
            *person.secrets.items(),
        )
        for form, text in forms(canary).items()
    }
    addresses = {f"address in {form}": text for form, text in forms(person.email).items()}
    directory = aviary.data.parent  # the data, and what the processes have said
    (directory / "archive").write_bytes(archive)
    (directory / "metrics").write_bytes(metrics)
    (directory / "cache").write_bytes(cache)
    (directory / "shown").write_text(repr(shown))
    (directory / "keys").write_text(repr(listed))
    found = await asyncio.to_thread(places_with, directory, forms_of_all)
    seen = await asyncio.to_thread(places_with, directory, {"id": request.encode()})

    told = await asyncio.to_thread(places_with, directory, addresses)

    assert found == set()
    assert {place for place in told if not place.startswith(READABLE)} == set()
    assert {place.split("/")[1] for place in told if "/" in place} == {"postgres", "mails"}
    whole = "\n".join(seen)
    for place in (
        "data.stderr",
        "data/log/",
        "data/postgres/data/base/",
        "data/postgres/data/pg_wal/",
        "archive",
        "shown",
    ):
        assert place in whole, f"the search is blind in {place}"


async def archived(books: Books) -> bytes:
    """All that is on the log as the archive holds it, unpacked, once it holds all of it."""

    async def there() -> bool:
        kept = await books.database.fetchval("SELECT coalesce(sum(events), 0) FROM archive")
        return bool(kept >= await books.log.command("XLEN", keys.events(0)))

    await soon(there)
    rows = await books.database.fetch("SELECT payload FROM archive")
    return b"".join(zlib.decompress(row["payload"]) for row in rows)


def test_the_search_finds_every_form_wherever_it_is(tmp_path: Path) -> None:
    canary = "canary0123456789abcdef"
    for offset in range(3):
        (tmp_path / str(offset)).write_bytes(base64.urlsafe_b64encode(b"x" * offset + canary.encode() + b"behind"))
    (tmp_path / "3").write_bytes(b"\0" * (PIECE - 5) + canary.encode() + b"\0")
    (tmp_path / "4").write_bytes(canary.encode().hex().encode())
    found = places_with(tmp_path, forms(canary))
    assert {place.partition(":")[0] for place in found} == {"0", "1", "2", "3", "4"}
