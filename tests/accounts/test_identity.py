"""Whose key this is, and for how long that is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.api_keys import key_hash, new_key
from app.changes import Change
from app.identity import IDENTITY_KEEP_S, Found, Identities, Identity, NotMember, Unavailable, Unknown
from app.teams.membership import Membership
from tests.accounts.records import ACCOUNT, ALICE, FakeRecords, HandClock

OTHER = "01900000-0000-7000-8000-000000000002"
NOWHERE = "redis://127.0.0.1:1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTIVE = Found(ALICE, "active", revoked=False)

JUNK = 1_000_000


def identities(records: FakeRecords, clock: Callable[[], float] | None = None) -> Identities:
    return Identities(records, NOWHERE, clock=clock or HandClock(), now=lambda: NOW)


async def why(asked: Identities, key: str) -> str:
    with pytest.raises(Unknown) as unknown:
        await asked.of(key)
    return unknown.value.why


async def test_a_key_is_looked_up_once_and_then_remembered() -> None:
    records = FakeRecords()
    key = records.add(ACTIVE)
    asked = identities(records)

    assert asked.cached(key) is None
    assert await asked.of(key) == ALICE
    assert asked.cached(key) == ALICE
    assert await asked.of(key) == ALICE
    assert records.lookups == 1


async def test_a_million_junk_keys_cost_no_look_up() -> None:
    records = FakeRecords()
    asked = identities(records)
    refused = 0

    for number in range(JUNK):
        try:
            await asked.of(f"hx_user_{number:064x}aaaaaa")
        except Unknown:
            refused += 1

    assert (refused, records.lookups) == (JUNK, 0)


@pytest.mark.parametrize("junk", ["", "ключ", "\ud800" * 78, "a" * 78, "x" * 1_000_000])
async def test_junk_is_malformed_and_not_remembered(junk: str) -> None:
    records = FakeRecords()
    asked = identities(records)

    assert asked.cached(junk) is None
    assert await why(asked, junk) == "malformed"
    assert records.lookups == 0


async def test_many_who_come_at_once_with_one_key_cost_one_look_up() -> None:
    records = FakeRecords()
    key = records.add(ACTIVE)
    asked = identities(records)

    assert await asyncio.gather(*(asked.of(key) for _ in range(200))) == [ALICE] * 200
    assert records.lookups == 1


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (replace(ACTIVE, revoked=True), "revoked"),
        (replace(ACTIVE, status="suspended"), "suspended"),
        (replace(ACTIVE, status="deleted"), "deleted"),
        (replace(ACTIVE, identity=replace(ALICE, expires_at=NOW)), "expired"),
    ],
)
async def test_a_key_that_opens_nothing_is_refused(found: Found, reason: str) -> None:
    records = FakeRecords()
    key = records.add(found)
    asked = identities(records)

    assert await why(asked, key) == reason
    assert asked.cached(key) is None


async def test_a_stranger_is_remembered_for_a_moment_only() -> None:
    records, clock = FakeRecords(), HandClock()
    stranger = new_key()
    asked = identities(records, clock)

    assert [await why(asked, stranger) for _ in range(3)] == ["unknown"] * 3
    assert records.lookups == 1
    clock.seconds += 2.0
    records.rows[key_hash(stranger)] = ACTIVE
    assert await asked.of(stranger) == ALICE


async def test_a_revocation_that_is_not_heard_holds_within_a_minute() -> None:
    records, clock = FakeRecords(), HandClock()
    key = records.add(ACTIVE)
    asked = identities(records, clock)
    await asked.of(key)
    records.rows[key_hash(key)] = replace(ACTIVE, revoked=True)

    clock.seconds += IDENTITY_KEEP_S - 0.1
    assert asked.cached(key) == ALICE
    clock.seconds += 0.1
    assert asked.cached(key) is None
    assert await why(asked, key) == "revoked"


async def test_a_key_is_not_remembered_beyond_its_own_end() -> None:
    records, clock = FakeRecords(), HandClock()
    key = records.add(replace(ACTIVE, identity=replace(ALICE, expires_at=NOW + timedelta(seconds=5))))
    asked = identities(records, clock)
    await asked.of(key)

    clock.seconds += 5.0
    assert asked.cached(key) is None


@pytest.mark.parametrize("account", [False, True])
async def test_a_change_that_is_heard_drops_what_it_names_and_nothing_else(account: bool) -> None:
    records = FakeRecords()
    key = records.add(ACTIVE)
    other = records.add(replace(ACTIVE, identity=replace(ALICE, account=OTHER, person=OTHER)))
    asked = identities(records)
    await asked.of(key)
    await asked.of(other)

    asked.forget(Change("account", ACCOUNT) if account else Change("key", key_hash(key)))

    assert asked.cached(key) is None
    assert asked.cached(other) is not None


async def test_a_change_heard_while_the_key_is_looked_up_is_not_overwritten_by_what_was_read_before() -> None:
    records = FakeRecords(gate=asyncio.Event())
    key = records.add(ACTIVE)
    asked = identities(records)
    early = asyncio.create_task(asked.of(key))
    await records.asked.wait()

    records.rows[key_hash(key)] = replace(ACTIVE, revoked=True)
    asked.forget(Change("key", key_hash(key)))
    assert records.gate is not None
    records.gate.set()
    await early

    assert asked.cached(key) is None
    assert await why(asked, key) == "revoked"


async def test_who_comes_after_a_change_does_not_get_what_was_read_before_it() -> None:
    records = FakeRecords(gate=asyncio.Event())
    key = records.add(ACTIVE)
    asked = identities(records)
    early = asyncio.create_task(asked.of(key))
    await records.asked.wait()

    records.rows[key_hash(key)] = replace(ACTIVE, revoked=True)
    asked.forget(Change("key", key_hash(key)))
    late = asyncio.create_task(why(asked, key))
    await asyncio.sleep(0)
    assert records.gate is not None
    records.gate.set()
    await early

    assert await late == "revoked"


async def test_without_postgres_the_remembered_go_on_and_the_others_are_told() -> None:
    records = FakeRecords()
    key, other = records.add(ACTIVE), records.add(ACTIVE)
    asked = identities(records)
    await asked.of(key)
    records.down = True

    assert await asked.of(key) == ALICE
    with pytest.raises(Unavailable):
        await asked.of(other)
    records.down = False
    assert await asked.of(other) == ALICE


async def test_a_change_that_makes_no_sense_is_survived() -> None:
    asked = identities(FakeRecords())

    asked.forget(Change("key", "no hexadecimal"))


async def test_the_uses_of_keys_are_written_when_a_process_ends() -> None:
    records = FakeRecords()
    key = records.add(ACTIVE)
    async with identities(records) as asked:
        await asked.of(key)

    assert records.used == [frozenset({ALICE.api_key_id})]


async def test_a_use_that_could_not_be_written_is_written_later() -> None:
    records = FakeRecords()
    key = records.add(ACTIVE)
    asked = identities(records)
    await asked.of(key)

    records.down = True
    await asked.write_uses()
    records.down = False
    await asked.write_uses()
    await asked.write_uses()

    assert records.used == [frozenset({ALICE.api_key_id})]


def test_an_operator_may_everything_and_others_what_their_scopes_say() -> None:
    def may(*scopes: str) -> list[bool]:
        identity: Identity = replace(ALICE, scopes=frozenset(scopes))
        return [identity.has("chat"), identity.may("completions.ask"), identity.has("admin"), identity.operator]

    assert may() == [False, False, False, False]
    assert may("chat") == [True, True, False, False]
    assert may("prompts") == [False, False, False, False]
    assert may("admin") == [True, True, True, True]


def test_a_role_bounds_what_the_scopes_would_allow() -> None:
    viewer = replace(ALICE, scopes=frozenset({"chat", "admin"}), role="viewer")

    assert viewer.may("requests.read")
    assert not viewer.may("completions.ask")


TEAM = "01900000-0000-7000-8000-0000000000f1"
MEMBER = Membership(TEAM, ACCOUNT, "viewer", "team", None)


async def test_a_person_acts_for_his_team_in_his_role_there_and_it_is_looked_up_once() -> None:
    records = FakeRecords(memberships={(ACCOUNT, TEAM): MEMBER})
    asked = identities(records)

    acting = [await asked.acting_for(ALICE, TEAM) for _ in range(2)]

    assert acting == [replace(ALICE, account=TEAM, role="viewer", tier="team")] * 2
    assert records.lookups == 1


@pytest.mark.parametrize("told", [TEAM, ACCOUNT])
async def test_a_membership_is_forgotten_when_the_team_or_the_person_changes(told: str) -> None:
    records = FakeRecords(memberships={(ACCOUNT, TEAM): MEMBER})
    asked = identities(records)
    await asked.acting_for(ALICE, TEAM)

    records.memberships.clear()
    asked.forget(Change("account", told))

    with pytest.raises(NotMember):
        await asked.acting_for(ALICE, TEAM)


@pytest.mark.parametrize("account", [OTHER, "x", "", TEAM.upper(), f"{TEAM}\n", "0" * 1_000_000])
async def test_what_is_no_account_of_his_is_none_at_all(account: str) -> None:
    asked = identities(FakeRecords(memberships={(ACCOUNT, TEAM): MEMBER}))

    with pytest.raises(NotMember):
        await asked.acting_for(ALICE, account)


async def test_what_is_bound_to_a_team_acts_for_no_other_account() -> None:
    records = FakeRecords(memberships={(ACCOUNT, OTHER): replace(MEMBER, account=OTHER)})
    asked = identities(records)

    for bound in (replace(ALICE, account=TEAM), replace(ALICE, account=TEAM, person=None)):
        assert await asked.acting_for(bound, TEAM) == bound
        for account in (OTHER, ACCOUNT):
            with pytest.raises(NotMember):
                await asked.acting_for(bound, account)
    assert records.lookups == 0
