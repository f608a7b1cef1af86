"""The audit log has a row for each change, and whatever is done to a row afterwards is found."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.ids import new_id
from events.accounts import KeyChanged, KeyCreated, KeyRevoked, UserCreated
from events.catalog import CATALOG
from events.completions import CompletionEnded
from events.message import Change, Envelope, Event
from projections import audit
from projections.audit import AUDIT, Fault
from projections.projection import Seen
from projections.rebuild import Wish, rebuild
from tests.projections import ALICE, BOB, KEY, NOON, MemoryLog, finished, rows, running, until

BY = f"key:{KEY}"


def told(body: Event, account: str = ALICE, *, at: datetime = NOON) -> Envelope:
    return Envelope.begin(body, id=new_id(), at=at, account=account, subject=KEY)


def revoked(account: str = ALICE, *, at: datetime = NOON) -> Envelope:
    return told(KeyRevoked(api_key_id=KEY, key_hash="0" * 64, by=BY), account, at=at)


def lived(count: int = 8) -> list[Envelope]:
    """Changes of two accounts, with a request between them."""
    made = told(KeyCreated(api_key_id=KEY, prefix="hx_user_abc...", scopes=("chat",), by=BY))
    some = [told(UserCreated(tier="pro", by="operator")), told(UserCreated(tier="free"), BOB), finished(), made]
    return [*some, *(revoked(BOB if number % 2 else ALICE) for number in range(count - 3))]


async def remembered(database: AsyncEngine, log: MemoryLog) -> None:
    async with running(database, log, projections=(AUDIT,)):
        await until(database, log, (AUDIT,))


async def kept(database: AsyncEngine, *said: Envelope) -> MemoryLog:
    log = MemoryLog()
    log.add(*said)
    await remembered(database, log)
    return log


async def faults(database: AsyncEngine) -> list[Fault]:
    async with database.connect() as connection:
        return (await audit.verify(connection, 0))[1]


async def by_the_owner(database: AsyncEngine, *statements: str) -> None:
    """What somebody can do who owns the tables: take the guard away, and then anything."""
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        for statement in statements:
            await connection.execute(text(statement))
        await connection.execute(text("ALTER TABLE audit ENABLE TRIGGER USER"))


def test_every_fact_that_is_no_request_is_audited_and_says_by_whom() -> None:
    others = {kind for kind in CATALOG.values() if issubclass(kind, Event) and kind.type not in audit.WANTS}

    assert {kind.type for kind in others if not issubclass(kind, CompletionEnded)} == {
        "content.expired",
        "usage.adjusted",
        "response.deleted",
        "budget.reached",
    }
    assert all(issubclass(CATALOG[name], Change) for name in audit.WANTS)


async def test_each_change_has_one_row_and_a_request_none(database: AsyncEngine) -> None:
    said = lived()
    log = await kept(database, *said)
    log.add(said[0], said[4])  # the outbox says a fact twice where it cannot know
    await remembered(database, log)

    found = await rows(
        database, 'SELECT number, event_id::text, account::text, "by", action FROM audit ORDER BY number'
    )
    changes = [one for one in said if one.type != "completion.finished"]
    assert found == [
        (number, one.id, one.account, getattr(one.body, "by", None), one.type)
        for number, one in enumerate(changes, start=1)
    ]
    assert await faults(database) == []


async def test_a_fact_that_is_said_twice_stands_where_it_was_said_first_however_entries_are_read(
    database: AsyncEngine,
) -> None:
    first, second = revoked(), revoked(BOB)
    log = await kept(database, first, second, first)  # in one batch
    found = await rows(database, "SELECT event_id::text, hash FROM audit ORDER BY number")
    assert [row[0] for row in found] == [first.id, second.id]

    entries = [Seen(0, entry_id, raw) for entry_id, raw in log.entries[0]]
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        await connection.execute(text("DELETE FROM audit"))
        await connection.execute(text("DELETE FROM audit_heads"))
        for entry in entries:  # one by one
            await audit.apply(connection, [entry])
    assert await rows(database, "SELECT event_id::text, hash FROM audit ORDER BY number") == found


async def test_what_a_row_tells_is_the_fact_without_what_it_hides(database: AsyncEngine) -> None:
    changed = KeyChanged(
        api_key_id=KEY,
        key_hash="f" * 64,
        scopes=("chat",),
        models=None,
        allowed_ips=2,
        expires_at=NOON,
        replaced_by=None,
        by=BY,
    )
    await kept(database, told(changed))

    [(details,)] = await rows(database, "SELECT details FROM audit")
    shown = json.loads(str(details))
    assert shown.keys() == KeyChanged.model_fields.keys() - {"by", "key_hash"}
    assert (shown["allowed_ips"], shown["scopes"], shown["expires_at"]) == (2, ["chat"], "2026-11-30T12:00:00Z")
    assert details == json.dumps(shown, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET by = 'operator'", "DELETE FROM audit WHERE number = 3", "TRUNCATE audit"],
)
async def test_the_database_refuses_to_change_a_row_before_and_after_a_replay(
    database: AsyncEngine, statement: str
) -> None:
    log = await kept(database, *lived())
    for _ in range(2):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.begin() as connection:
                await connection.execute(text(statement))
        await rebuild(database, log, AUDIT, 1, Wish())
    assert await faults(database) == []


COLUMNS = {
    "entry_id": "entry_id || '0'",
    "event_id": "gen_random_uuid()",
    "created_at": "created_at + interval '1 microsecond'",
    "account": f"CASE account WHEN '{ALICE}' THEN '{BOB}'::uuid ELSE '{ALICE}'::uuid END",
    "by": "coalesce(by, '') || 'x'",
    "action": "action || 'x'",
    "subject": "subject || 'x'",
    "details": "details || ' '",
    "hash": "set_byte(hash, 31, get_byte(hash, 31) # 1)",
}


async def test_every_flip_of_every_column_of_every_row_is_found(database: AsyncEngine) -> None:
    await kept(database, *lived())
    count = len(await rows(database, "SELECT number FROM audit"))
    found = []
    async with database.connect() as connection:
        await connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        for column, changed in COLUMNS.items():
            for number in range(1, count + 1):
                async with connection.begin_nested() as tampered:
                    await connection.execute(text(f"UPDATE audit SET {column} = {changed} WHERE number = {number}"))
                    found.append(bool((await audit.verify(connection, 0))[1]))
                    await tampered.rollback()
        await connection.rollback()
    assert found == [True] * len(COLUMNS) * count
    assert await faults(database) == []


COPY = """INSERT INTO audit SELECT partition, 99, entry_id, gen_random_uuid(), created_at, account, by, action, subject,
details, hash FROM audit WHERE number = 3"""

DEEDS = (
    ["DELETE FROM audit WHERE number = 1"],
    ["DELETE FROM audit WHERE number = 4"],
    ["DELETE FROM audit WHERE number = 4", "UPDATE audit SET number = number - 1 WHERE number > 4"],
    [
        "UPDATE audit SET number = number + 100 WHERE number > 4",
        COPY,
        "UPDATE audit SET number = 5 WHERE number = 99",
        "UPDATE audit SET number = number - 99 WHERE number > 100",
    ],
    [
        "UPDATE audit SET number = -number WHERE number IN (4, 5)",
        "UPDATE audit SET number = 9 + number WHERE number < 0",
    ],
    ["DELETE FROM audit WHERE number > 6"],
    ["DELETE FROM audit"],
)
"""Taken away: the first, one of the middle, the same with the gap closed; put in; exchanged; the tail cut; all gone."""


async def test_a_row_that_was_taken_away_put_in_or_moved_is_found(database: AsyncEngine) -> None:
    log = await kept(database, *lived())
    for deeds in DEEDS:
        await by_the_owner(database, *deeds)
        assert await faults(database), deeds
        await rebuild(database, log, AUDIT, 1, Wish())
        assert await faults(database) == []


async def test_a_replay_gives_the_same_rows_and_hashes(database: AsyncEngine) -> None:
    log = await kept(database, *lived())
    before = await rows(database, "SELECT * FROM audit ORDER BY number")
    result = await rebuild(database, log, AUDIT, 1, Wish(compare=True))
    assert all(one.none for one in result.differences or ())
    assert await rows(database, "SELECT * FROM audit ORDER BY number") == before

    log.add(revoked())  # and the chain goes on behind it
    await remembered(database, log)
    assert len(await rows(database, "SELECT number FROM audit")) == len(before) + 1
    assert await faults(database) == []


async def test_what_is_older_than_two_years_goes_and_leaves_its_hash(database: AsyncEngine) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(days=3 * 365)
    log = await kept(database, *(revoked(at=old + timedelta(hours=hour)) for hour in range(5)))
    [(last,)] = await rows(database, "SELECT hash FROM audit WHERE number = 5")

    young = [revoked(at=now - timedelta(days=300)), revoked(BOB, at=now)]
    log.add(*young)
    await remembered(database, log)

    assert await rows(database, "SELECT number, event_id::text FROM audit ORDER BY 1") == [
        (number, one.id) for number, one in enumerate(young, start=6)
    ]
    assert await rows(database, "SELECT anchor_number, anchor_hash, number FROM audit_heads") == [(5, last, 7)]
    assert await faults(database) == []
    result = await rebuild(database, log, AUDIT, 1, Wish(compare=True))
    assert all(one.none for one in result.differences or ())
    await by_the_owner(database, "DELETE FROM audit WHERE number = 6")
    assert await faults(database)


async def test_an_account_reads_its_own_changes_alone_newest_first(database: AsyncEngine) -> None:
    said = lived(9)
    await kept(database, *said)
    hers = [one.id for one in said if one.account == ALICE and one.type != "completion.finished"][::-1]
    his = next(one.id for one in said if one.account == BOB)

    async with database.connect() as connection:
        first = await audit.page(connection, ALICE, limit=2, after=None)
        assert first is not None
        then = await audit.page(connection, ALICE, limit=100, after=first[-1].event_id)
        assert then is not None
        assert [row.event_id for row in (*first, *then)] == hers
        assert {row.account for row in (*first, *then)} == {ALICE}
        assert await audit.page(connection, ALICE, limit=2, after=his) is None
        of_kind = await audit.page(connection, ALICE, limit=9, after=None, action="user.created")
        assert of_kind is not None and [row.action for row in of_kind] == ["user.created"]
