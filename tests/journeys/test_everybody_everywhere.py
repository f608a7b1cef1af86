"""Every route by two accounts by every role by whatever one comes with (A7): what the matrix says, and nothing of anybody else's.

One rule: the routes come from the table of operations, so that a new one falls under this by itself; one whose path holds an
id that is not known here fails until it says what that id is of (`THINGS`).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest

from app.database import connected
from app.http.operation import Operation
from app.http.operations import OPERATIONS
from app.identity import OPERATOR
from app.people.password import Passwords
from app.teams import members, teams
from events.teams import Role
from handlers.rules.roles import ROLES, may, may_give
from tests.journeys.client import Answer, Client, client_of, question
from tests.journeys.running import Helix
from tests.journeys.somebody import EVERYTHING, ORGANIZATIONS, Somebody, somebody, team_of

CANARY: Final = "kanarienvogel"
"""Stands in everything that the other account has."""

PASSWORD: Final = "eleven grey herons"

TOGETHER: Final = 16

THINGS: Final = {
    r"/v1/responses/\{id\}": {"id": "response"},
    r"/v1/requests/\{id\}": {"id": "request"},
    r"/v1/api-keys/\{id\}": {"id": "key"},
    r"/v1/models/\{id\}": {"id": "model"},
    r"/v1/organizations/\{id\}": {"id": "team", "person": "person", "invitation": "invitation"},
    r"/v1/users/me/exports/\{id\}": {"id": "export"},
    r"/v1/users/me/sessions/\{id\}": {"id": "session"},
    r"/v1/provider-keys/\{provider\}": {"provider": "provider"},
    r"/v1/budgets/": {"subject": "subject", "period": "period", "kind": "kind"},
}
"""Beginning of a path → what its ids are of."""

FREE: Final = {"model": "sandbox/echo", "period": "day", "kind": "hard", "provider": "nobody"}
"""What is nobody's own. A provider's own key would have the example's `auto` go out to it: shown in test_provider_keys.py."""

ENDS: Final = {("DELETE", f"{ORGANIZATIONS}/{{id}}"), ("POST", f"{ORGANIZATIONS}/{{id}}/leave")}
"""Whoever may do this does it, and is gone: shown in test_teams.py."""

ABOUT_OTHERS: Final = {("developer", "POST", "/v1/api-keys"), ("developer", "POST", "/v1/api-keys/{id}/rotate")}
"""A team's own key makes keys of the team alone, which takes more than its role of a developer."""


@dataclass(frozen=True)
class Account:
    """A team with something of everything."""

    owner: Somebody
    things: Mapping[str, str]

    @property
    def team(self) -> str:
        return self.things["team"]


@dataclass(frozen=True)
class Comer:
    """Somebody in a role in the first account, and what he comes with."""

    role: Role
    by: str
    client: Client
    headers: Mapping[str, str]


@dataclass(frozen=True)
class World:
    mine: Account
    others: Account
    comers: tuple[Comer, ...]
    outsider: Client
    """A key without an account's header, of somebody who belongs to neither."""


async def account(helix: Helix, stack: AsyncExitStack, word: str) -> Account:
    owner = await stack.enter_async_context(somebody(helix))
    team = await team_of(owner, word)
    async with connected(helix.facts["database_url"]) as connection:
        await teams.set_tier(connection, team, "enterprise")
    acting = {"x_helix_account": team}
    invitation = {"email": f"{word}@example.org", "role": "viewer"}
    asked = await owner.client.complete(question(word), idempotency_key="the-same-for-both", **acting)
    assert asked.status == 200
    things = {
        "team": team,
        "person": owner.id,
        "request": asked.request,
        "response": (await owner.send("POST", "/v1/responses", {"model": "sandbox/echo", "input": word}, **acting))[
            "id"
        ],
        "key": (await owner.send("POST", "/v1/api-keys", {"name": word}, **acting))["id"],
        "invitation": (await owner.send("POST", f"{ORGANIZATIONS}/{team}/invitations", invitation))["id"],
        "export": (await owner.send("GET", "/v1/users/me/export", **acting))["id"],
        "session": (await session_of(helix, owner))["id"],
        "subject": "account",
    }
    return Account(owner, things)


async def session_of(helix: Helix, person: Somebody) -> Any:
    """He signs in."""
    async with connected(helix.facts["database_url"]) as connection:
        kept = await Passwords().hash(PASSWORD)
        await connection.execute("UPDATE users SET password_hash = $2 WHERE email = $1", person.email, kept)
    return await person.send("POST", "/v1/auth/sign-in", {"email": person.email, "password": PASSWORD})


async def with_token(helix: Helix, person: Somebody, stack: AsyncExitStack) -> Client:
    token = (await session_of(helix, person))["access_token"]
    return await stack.enter_async_context(client_of(helix.base_url, token))


@pytest.fixture
async def world(helix: Helix) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        mine, others = [await account(helix, stack, word) for word in ("mine", CANARY)]
        acting = {"x_helix_account": mine.team}
        comers = [
            Comer("owner", "person's key", mine.owner.client, acting),
            Comer("owner", "token", await with_token(helix, mine.owner, stack), acting),
        ]
        for role in ROLES[1:]:
            member = await stack.enter_async_context(somebody(helix))
            async with connected(helix.facts["database_url"]) as connection, connection.transaction():
                await members.add(connection, mine.team, member.id, role, by=OPERATOR)
            comers.append(Comer(role, "person's key", member.client, acting))
            comers.append(Comer(role, "token", await with_token(helix, member, stack), acting))
            body = {"owner": "team", "role": role, "scopes": list(EVERYTHING)}
            key = await mine.owner.send("POST", "/v1/api-keys", body, **acting)
            holder = await stack.enter_async_context(client_of(helix.base_url, key["key"]))
            comers.append(Comer(role, "team's key", holder, {}))
        outsider = await stack.enter_async_context(somebody(helix))
        yield World(mine, others, tuple(comers), outsider.client)


def never(id: str) -> str:
    """One that is nobody's, of the same shape and at the same place in any order."""
    return id[:-1] + ("0" if id[-1] != "0" else "1")


def kinds(operation: Operation) -> dict[str, str]:
    """Parameter of the path → what it is an id of."""
    names = {each.name for each in operation.parameters if each.where == "path"}
    known = next((of for path, of in THINGS.items() if re.match(path, operation.path)), {})
    assert names <= set(known), f"{operation.method} {operation.path}: what are these ids of? Say it in THINGS"
    return {name: known[name] for name in names}


def path_of(operation: Operation, ids: Mapping[str, str]) -> str:
    path = operation.path
    for name, kind in kinds(operation).items():
        path = path.replace(f"{{{name}}}", FREE.get(kind) or ids[kind])
    return path + ("" if operation.body else operation.example)


async def ask(operation: Operation, path: str, client: Client, headers: Mapping[str, str]) -> Answer:
    body = operation.example.encode() if operation.body else None
    return await client.send(operation.method, path, body, **headers)


def masked(answer: Answer, *ids: str) -> tuple[int, bytes]:
    """Without these ids, and without the one that every request has anew."""
    body = answer.body
    for id in (*ids, answer.request):
        body = body.replace(id.encode(), b"*")
    return answer.status, body


async def together(work: Iterable[Coroutine[None, None, None]]) -> None:
    """All of it, some at a time; every fault is told."""
    bound = asyncio.Semaphore(TOGETHER)

    async def one(each: Coroutine[None, None, None]) -> None:
        async with bound:
            await each

    ended = await asyncio.gather(*map(one, work), return_exceptions=True)
    faults = [fault for fault in ended if fault is not None]
    assert not faults, "\n".join(str(fault)[:400] for fault in faults)


GUARDED: Final = [operation for operation in OPERATIONS if operation.action is not None]


@pytest.mark.timeout(300)
async def test_everybody_may_what_the_matrix_says_and_sees_nothing_of_others(world: World) -> None:
    mine, others = world.mine, world.others
    absent = {kind: never(id) for kind, id in mine.things.items()} | {"team": mine.team, "subject": "account"}

    async def in_his_role(operation: Operation, comer: Comer) -> None:
        assert operation.action is not None
        allowed = may(comer.role, operation.action)
        if allowed and (operation.method, operation.path) in ENDS:
            return
        ids = mine.things if operation.method == "GET" else absent
        answer = await ask(operation, path_of(operation, ids), comer.client, comer.headers)
        case = (operation.method, operation.path, comer.role, comer.by, answer.status, answer.body[:300])
        assert CANARY.encode() not in answer.body, case
        refused = (
            answer.status == 403 and answer.error.get("code", "role_missing") == "role_missing"
        )  # Anthropic's has none
        if (comer.role, operation.method, operation.path) in ABOUT_OTHERS and comer.by == "team's key":
            return
        assert refused is not allowed, case
        assert answer.status < 500 and answer.status != 401, case
        if allowed and operation.method == "GET":
            nobody = comer.by == "team's key" and operation.path.startswith("/v1/users/me")
            none = nobody or "provider" in kinds(operation)
            assert answer.status in ((404, 409) if none else (200, 202)), case  # 202: an export is being made

    async def with_no_key(operation: Operation, nobody: Client) -> None:
        answer = await nobody.send(operation.method, path_of(operation, mine.things), authorization="Bearer no")
        assert answer.status == 401, (operation.method, operation.path, answer.status)

    async def for_an_account_of_others(operation: Operation, client: Client) -> None:
        """By the header: the same answer as for one that never was."""
        heard = set()
        for team in (others.team, never(others.team), others.owner.id):
            path = path_of(operation, {**mine.things, "team": team})
            heard.add(masked(await ask(operation, path, client, {"x_helix_account": team}), team))
        case = (operation.method, operation.path, heard)
        assert len(heard) == 1, case
        [(status, body)] = heard
        assert status == 404 and CANARY.encode() not in body, case

    async def with_ids_of_others(operation: Operation, comer: Comer) -> None:
        """In the path, one place at a time: the same as for what never was."""
        for name, kind in kinds(operation).items():
            if kind in FREE or (operation.method, operation.path) in ENDS:
                continue
            foreign = f"key:{others.things['key']}" if kind == "subject" else others.things[kind]
            heard = []
            for id in (foreign, never(foreign)):
                path = path_of(operation, {**mine.things, kind: id})
                heard.append(
                    masked(await ask(operation, path, comer.client, comer.headers), id, id.removeprefix("resp_"))
                )
            case = (operation.method, operation.path, name, comer.role, comer.by, heard)
            assert heard[0] == heard[1], case
            assert operation.action is not None
            unknown = kind == "team" or may(comer.role, operation.action)  # in another's team he has no role at all
            assert heard[0][0] == (404 if unknown else 403), case
            assert CANARY.encode() not in heard[0][1], case

    async def with_cursors_of_others(operation: Operation, comer: Comer) -> None:
        for parameter in operation.parameters:
            if parameter.where == "path" or parameter.kind != "string" or parameter.choices:
                continue
            for kind in ("request", "response", "key", "person"):
                heard = []
                for id in (others.things[kind], never(others.things[kind])):
                    path = path_of(operation, mine.things).partition("?")[0]
                    headers = dict(comer.headers)
                    if parameter.where == "query":
                        path += f"?{parameter.name}={id}"
                    else:
                        headers[parameter.name] = id
                    if operation.method == "GET":
                        heard.append(masked(await comer.client.send("GET", path, **headers), id))
                assert all(CANARY.encode() not in body for _, body in heard), (operation.path, parameter.name)
                assert len({status for status, _ in heard}) <= 1, (operation.path, parameter.name, heard)

    first, second = world.comers[:2]
    await together(in_his_role(operation, comer) for operation in GUARDED for comer in world.comers)
    await together(with_no_key(operation, first.client) for operation in GUARDED)
    await together(
        for_an_account_of_others(operation, each)
        for operation in GUARDED
        for each in (first.client, second.client, world.outsider)
    )
    await together(with_ids_of_others(operation, comer) for operation in GUARDED for comer in world.comers)
    await together(with_cursors_of_others(operation, first) for operation in GUARDED)


async def test_what_a_body_or_a_header_names_is_looked_for_in_ones_own_account(world: World) -> None:
    mine, others = world.mine, world.others
    client, acting = mine.owner.client, {"x_helix_account": mine.team}
    heard = []
    for id in (others.things["response"], never(others.things["response"])):
        body = {"model": "sandbox/echo", "input": "x", "previous_response_id": id}
        heard.append(masked(await client.post("/v1/responses", body, **acting), id))
    assert heard[0] == heard[1]
    assert heard[0][0] in (400, 404)

    same = {"idempotency_key": "only-theirs"}
    theirs = await others.owner.client.complete(question(CANARY), x_helix_account=others.team, **same)
    ours = await client.complete(question(CANARY), **same, **acting)
    assert theirs.request != ours.request
    assert "idempotency-replayed" not in ours.headers

    for header in ({}, acting):  # what one has in one's team is not in one's own account, and the other way round
        listed = await client.get("/v1/requests?limit=100", **header)
        assert others.things["request"] not in {each["id"] for each in listed.json["data"]}
    assert (await client.get(f"/v1/requests/{mine.things['request']}")).status == 404
    assert json.loads((await client.get("/v1/api-keys")).body)["data"][0]["name"] is None


async def test_nobody_raises_himself_or_gives_what_he_lacks(world: World) -> None:
    """Every role tries every way up (A25)."""
    mine = world.mine
    members_of, one = f"{ORGANIZATIONS}/{mine.team}/members", f"{ORGANIZATIONS}/{mine.team}"
    before = await mine.owner.send("GET", members_of)
    person_of = {each["role"]: each["person"] for each in before["data"]}

    for comer in world.comers:
        if comer.role == "owner":
            continue
        for role in ROLES:
            ways: list[tuple[str, str, object]] = [
                ("PATCH", f"{members_of}/{person_of['owner']}", {"role": role}),
                ("PATCH", f"{members_of}/{person_of['viewer']}", {"role": role}),
                ("POST", f"{one}/invitations", {"email": f"{role}-{comer.role}@example.org", "role": role}),
                ("POST", "/v1/api-keys", {"owner": "team", "role": role, "scopes": ["chat"]}),
                ("POST", f"{one}/transfer", {"person": person_of[comer.role]}),
                ("DELETE", f"{members_of}/{person_of['owner']}", None),
                ("PATCH", f"{members_of}/{person_of[comer.role]}", {"role": role}),
            ]
            for method, path, body in ways:
                answer = await comer.client.send(method, path, body, **comer.headers)
                case = (comer.role, comer.by, method, path, body, answer.status, answer.body)
                if may_give(comer.role, role) and method != "DELETE" and "transfer" not in path:
                    assert answer.status < 300 or person_of["owner"] in path or answer.status == 409, case
                else:
                    assert answer.status in (400, 403), case
            if comer.role == "admin":
                await mine.owner.send("PATCH", f"{members_of}/{person_of['viewer']}", {"role": "viewer"})
                await mine.owner.send("PATCH", f"{members_of}/{person_of['admin']}", {"role": "admin"})

    assert await mine.owner.send("GET", members_of) == before
