"""Who has signed in is remembered for a minute, and forgotten as soon as it is told."""

from __future__ import annotations

import asyncio

import pytest

from app.changes import Change
from app.database import Unavailable
from app.identity import Identity, Unknown
from app.people.access import KEEP_S, PERSON_SCOPES, SignedInPeople
from app.people.letters import Letters
from app.people.parts import People
from app.people.password import Passwords
from app.people.tokens import ACCESS_S, AccessTokens
from tests.people.test_password import CHEAP
from tests.people.test_tokens import FORGED, NOW, PERSON, SECRET, SESSION


class Records:
    """One session, which may be over, and a Postgres that may be away."""

    def __init__(self) -> None:
        self.asked = 0
        self.over = False
        self.away = False
        self.hold: asyncio.Event | None = None

    async def session(self, person: str, session: str) -> Identity | None:
        self.asked += 1
        over = self.over
        if self.away:
            raise Unavailable("away")
        if self.hold is not None:
            await self.hold.wait()
        if over:
            return None
        return Identity(person, person, "owner", person, "free", PERSON_SCOPES, None, None, signed_in=True)


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(records: Records, clock: Clock) -> People:
    tokens = AccessTokens(SECRET, now=clock)
    signed_in = SignedInPeople(tokens, records, clock=clock, now=clock)
    return People(tokens, signed_in, Passwords(CHEAP), Letters("http://127.0.0.1"), {})


async def test_a_session_is_looked_up_once_a_minute(people: People, records: Records, clock: Clock) -> None:
    token = people.tokens.sign(PERSON, SESSION)

    found = [await people.signed_in.of(token) for _ in range(5)]
    asked = records.asked
    clock.now += KEEP_S + 1
    await people.signed_in.of(token)

    assert {(one.account, one.person, one.role, one.by) for one in found} == {
        (PERSON, PERSON, "owner", f"person:{PERSON}")
    }
    assert (asked, records.asked) == (1, 2)


@pytest.mark.parametrize(
    "change", [Change("session", SESSION), Change("account", PERSON)], ids=lambda one: str(one.kind)
)
async def test_what_is_told_to_be_over_is_asked_for_again(people: People, records: Records, change: Change) -> None:
    token = people.tokens.sign(PERSON, SESSION)
    await people.signed_in.of(token)
    records.over = True
    still = await people.signed_in.of(token)  # not told yet

    people.forget(change)

    assert still.account == PERSON
    with pytest.raises(Unknown):
        await people.signed_in.of(token)


async def test_after_a_gap_in_what_is_told_everything_is_asked_for_again(people: People, records: Records) -> None:
    token = people.tokens.sign(PERSON, SESSION)
    await people.signed_in.of(token)
    records.over = True

    people.signed_in.forget_all()

    with pytest.raises(Unknown):
        await people.signed_in.of(token)


async def test_what_was_read_before_the_word_came_is_not_remembered(people: People, records: Records) -> None:
    token = people.tokens.sign(PERSON, SESSION)
    records.hold = asyncio.Event()
    reading = asyncio.create_task(people.signed_in.of(token))
    await asyncio.sleep(0)  # until the records are asked
    await asyncio.sleep(0)
    records.over = True
    people.forget(Change("session", SESSION))
    records.hold.set()
    await reading

    with pytest.raises(Unknown):
        await people.signed_in.of(token)


async def test_a_token_ends_and_what_it_began_goes_on(people: People, clock: Clock) -> None:
    token = people.tokens.sign(PERSON, SESSION)
    await people.signed_in.of(token)
    clock.now += ACCESS_S + 1

    with pytest.raises(Unknown) as refused:
        await people.signed_in.of(token)

    assert refused.value.why == "expired"
    assert (await people.signed_in.of(token, lasting=True)).account == PERSON


async def test_no_forged_token_asks_for_anything(people: People, records: Records) -> None:
    for forged in FORGED.values():
        with pytest.raises(Unknown):
            await people.signed_in.of(forged, lasting=True)

    assert records.asked == 0


async def test_who_cannot_be_looked_up_is_not_refused_for_good(people: People, records: Records) -> None:
    token = people.tokens.sign(PERSON, SESSION)
    records.away = True
    with pytest.raises(Unavailable):
        await people.signed_in.of(token)
    records.away = False

    assert (await people.signed_in.of(token)).account == PERSON
