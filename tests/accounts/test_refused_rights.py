"""A right that is refused is told to the audit log: once for a flood, and not lost while Postgres is away."""

from __future__ import annotations

from app.audit.refused import KINDS_MAX, RefusedRights
from app.database import Pool, open_pool
from app.identity import Identity
from app.ids import new_id
from events.audit import RightRefused
from events.catalog import read
from events.message import Envelope


def identity(account: str) -> Identity:
    return Identity(
        account=account,
        person=account,
        role="owner",
        api_key_id=new_id(),
        tier="free",
        scopes=frozenset({"chat"}),
        rate_limit_override=None,
        expires_at=None,
    )


async def told(pool: Pool) -> list[Envelope]:
    return [read(row["envelope"]) for row in await pool.fetch("SELECT envelope FROM outbox ORDER BY created_at, id")]


async def test_a_flood_of_one_kind_is_one_fact_with_its_count(pool: Pool) -> None:
    refused, one, other = RefusedRights(), identity(new_id()), identity(new_id())
    for _ in range(5):
        refused.note(one, "scope_missing", "keys.write")
    refused.note(other, "role_missing", "members.write")
    await refused.tell(pool)
    await refused.tell(pool)

    assert [(said.account, said.body) for said in await told(pool)] == [
        (one.account, RightRefused(code="scope_missing", action="keys.write", times=5, by=one.by)),
        (other.account, RightRefused(code="role_missing", action="members.write", times=1, by=other.by)),
    ]


async def test_what_waits_to_be_told_is_bounded_and_waits_for_postgres(pool: Pool) -> None:
    refused = RefusedRights()
    for _ in range(KINDS_MAX + 10):
        refused.note(identity(new_id()), "scope_missing", "keys.write")
    async with await open_pool("postgresql://nobody@127.0.0.1:1/none", name="tests", connections_max=1) as away:
        await refused.tell(away)
    assert await told(pool) == []

    await refused.stop(pool)
    assert len(await told(pool)) == KINDS_MAX
