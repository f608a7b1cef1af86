"""A right that is refused is told to the audit log: once for a flood, and not lost while Postgres is away."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import cast

from starlette.types import Message, Receive, Scope, Send

from app.audit.refused import KINDS_MAX, RefusedRights
from app.database import Pool, open_pool
from app.http.authentication import note_refused
from app.http.refusals import Refused
from app.http.shell import Shell
from app.identity import Identity
from app.ids import new_id
from app.wiring import WebParts
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


async def test_every_403_of_somebody_known_is_noted_and_nothing_else(pool: Pool) -> None:
    refused, known = RefusedRights(), identity(new_id())
    parts = cast(WebParts, SimpleNamespace(refused=refused, needs={("PUT", "/v1/routing"): "routing.write"}))
    answers = {"role": Refused(403, "role_missing", "no"), "none": Refused(404, "gone", "no")}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = SimpleNamespace(path_format="/v1/routing")
        if scope["path"] != "/stranger":
            scope["state"]["identity"] = known
        raise answers.get(scope["path"][1:], answers["role"])

    shell = Shell(app)
    shell.on_forbidden = partial(note_refused, parts)
    for path in ("/role", "/none", "/stranger", "/right"):
        await answered(shell, path)
    await refused.tell(pool)

    assert [said.body for said in await told(pool)] == [
        RightRefused(code="role_missing", action="routing.write", times=2, by=known.by)
    ]


async def answered(shell: Shell, path: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        return

    head = {"type": "http", "http_version": "1.1", "method": "PUT", "path": path, "headers": [(b"host", b"a")]}
    await shell(head, receive, send)
