"""Teams as their members meet them: made, joined, acted for, left; and nobody gets further than his role."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.journeys.client import Answer, client_of, question
from tests.journeys.running import Helix
from tests.journeys.somebody import ORGANIZATIONS, Somebody, joins, somebody, team_of, word_for

KEYS = "/v1/api-keys"
NOBODY = "01900000-0000-7000-8000-000000000000"


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error["code"]


@pytest.fixture
async def owner(helix: Helix) -> AsyncIterator[Somebody]:
    async with somebody(helix) as made:
        yield made


@pytest.fixture
async def friend(helix: Helix) -> AsyncIterator[Somebody]:
    async with somebody(helix) as made:
        yield made


@pytest.fixture
async def team(owner: Somebody) -> str:
    return await team_of(owner)


async def test_a_member_acts_for_his_team_and_the_team_is_the_account(
    helix: Helix, owner: Somebody, friend: Somebody, team: str
) -> None:
    await joins(helix, owner, team, friend, "developer")

    request = (await friend.client.complete(question("for the team"), x_helix_account=team)).request

    seen = await owner.send("GET", f"/v1/requests/{request}", x_helix_account=team)
    assert seen["response"]["choices"][0]["message"]["content"] == "for the team"
    for alone in (owner, friend):
        assert (await alone.client.get(f"/v1/requests/{request}")).status == 404
    assert [(each["id"], each["role"]) for each in (await friend.send("GET", ORGANIZATIONS))["data"]] == [
        (team, "developer")
    ]


async def test_a_strangers_team_is_as_unknown_as_none(owner: Somebody, friend: Somebody, team: str) -> None:
    for path in ("/v1/models", f"{ORGANIZATIONS}/{{}}", f"{ORGANIZATIONS}/{{}}/members"):
        heard = {
            (answer.status, answer.body)
            for id in (team, NOBODY, "x", team.upper(), owner.id)
            for answer in [await friend.client.get(path.format(id), x_helix_account=id)]
        }
        [(status, body)] = heard
        assert (status, json.loads(body)["error"]["code"]) == (404, "account_not_found")
    assert (await owner.client.get(f"{ORGANIZATIONS}/{owner.id}")).status == 404  # a person's account is no team


async def test_who_is_removed_acts_no_more_and_his_keys_for_the_team_end(
    helix: Helix, owner: Somebody, friend: Somebody, team: str
) -> None:
    await joins(helix, owner, team, friend, "admin")
    his = await friend.send("POST", KEYS, {}, x_helix_account=team)
    teams_own = await friend.send("POST", KEYS, {"owner": "team"}, x_helix_account=team)
    assert (his["person"], his["role"], teams_own["person"], teams_own["role"]) == (friend.id, None, None, "developer")
    async with client_of(helix.base_url, his["key"]) as with_his, client_of(helix.base_url, teams_own["key"]) as teams:
        assert [(await each.complete(question("x"))).status for each in (with_his, teams)] == [200, 200]

        await owner.send("DELETE", f"{ORGANIZATIONS}/{team}/members/{friend.id}")

        assert (await teams.complete(question("x"))).status == 200
        assert told(await with_his.complete(question("x"))) == (401, "invalid_api_key")
    assert told(await friend.client.get("/v1/models", x_helix_account=team)) == (404, "account_not_found")
    assert (await friend.client.get("/v1/models")).status == 200


async def test_a_role_that_changes_holds_at_once(helix: Helix, owner: Somebody, friend: Somebody, team: str) -> None:
    await joins(helix, owner, team, friend, "developer")
    assert (await friend.client.complete(question("x"), x_helix_account=team)).status == 200

    await owner.send("PATCH", f"{ORGANIZATIONS}/{team}/members/{friend.id}", {"role": "viewer"})

    assert told(await friend.client.complete(question("x"), x_helix_account=team)) == (403, "role_missing")
    assert (await friend.client.get("/v1/requests", x_helix_account=team)).status == 200


async def test_an_invitation_is_for_one_address_and_works_once(
    helix: Helix, owner: Somebody, friend: Somebody, team: str
) -> None:
    async with somebody(helix) as thief:
        invitation = {"email": friend.email.upper(), "role": "viewer"}
        made = await owner.send("POST", f"{ORGANIZATIONS}/{team}/invitations", invitation)
        again = await owner.client.post(f"{ORGANIZATIONS}/{team}/invitations", invitation)
        assert told(again) == (409, "already_invited")
        token = {"token": await word_for(helix, friend.email)}

        assert told(await thief.client.post("/v1/invitations/accept", token)) == (404, "invitation_not_found")
        assert (await friend.send("POST", "/v1/invitations/accept", token))["role"] == "viewer"
        assert told(await friend.client.post("/v1/invitations/accept", token)) == (404, "invitation_not_found")
    assert (await owner.send("GET", f"{ORGANIZATIONS}/{team}/invitations"))["data"] == []
    assert {each["email"] for each in (await owner.send("GET", f"{ORGANIZATIONS}/{team}/members"))["data"]} == {
        owner.email,
        friend.email,
    }
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        raw = b"".join([row["envelope"] for row in await connection.fetch("SELECT envelope FROM outbox")])
    finally:
        await connection.close()
    assert friend.email.encode() not in raw
    assert made["email"] == friend.email


async def test_an_invitation_that_is_withdrawn_or_whose_maker_lost_his_say_lets_nobody_in(
    helix: Helix, owner: Somebody, friend: Somebody, team: str
) -> None:
    path = f"{ORGANIZATIONS}/{team}/invitations"
    await joins(helix, owner, team, friend, "admin")
    async with somebody(helix) as first, somebody(helix) as second:
        withdrawn = await owner.send("POST", path, {"email": first.email, "role": "admin"})
        await friend.send("POST", path, {"email": second.email, "role": "admin"})
        words = [{"token": await word_for(helix, each.email)} for each in (first, second)]

        await owner.send("DELETE", f"{path}/{withdrawn['id']}")
        await owner.send("PATCH", f"{ORGANIZATIONS}/{team}/members/{friend.id}", {"role": "developer"})

        for person, word in zip((first, second), words, strict=True):
            assert told(await person.client.post("/v1/invitations/accept", word)) == (404, "invitation_not_found")


async def test_a_team_always_has_exactly_one_owner(helix: Helix, owner: Somebody, friend: Somebody, team: str) -> None:
    one = f"{ORGANIZATIONS}/{team}"
    await joins(helix, owner, team, friend, "admin")

    assert told(await owner.client.post(f"{one}/leave")) == (409, "owner_stays")
    assert told(await friend.client.send("DELETE", f"{one}/members/{owner.id}")) == (403, "role_missing")
    assert told(await friend.client.send("PATCH", f"{one}/members/{owner.id}", {"role": "viewer"})) == (
        403,
        "role_missing",
    )
    assert told(await friend.client.post(f"{one}/transfer", {"person": friend.id})) == (403, "role_missing")
    assert told(await owner.client.post(f"{one}/transfer", {"person": NOBODY})) == (404, "member_not_found")
    await owner.send("POST", f"{one}/transfer", {"person": friend.id})

    roles = {each["person"]: each["role"] for each in (await owner.send("GET", f"{one}/members"))["data"]}
    assert roles == {owner.id: "admin", friend.id: "owner"}
    await owner.send("POST", f"{one}/leave")
    assert (await owner.client.get(one)).status == 404


async def test_a_deleted_team_opens_nothing(helix: Helix, owner: Somebody, friend: Somebody, team: str) -> None:
    await joins(helix, owner, team, friend, "admin")
    key = await owner.send("POST", KEYS, {"owner": "team", "role": "admin", "scopes": ["chat"]}, x_helix_account=team)
    assert told(await friend.client.send("DELETE", f"{ORGANIZATIONS}/{team}")) == (403, "role_missing")

    closed = await owner.send("DELETE", f"{ORGANIZATIONS}/{team}")

    async with client_of(helix.base_url, key["key"]) as holder:
        assert told(await holder.get("/v1/models")) == (401, "invalid_api_key")
    for person in (owner, friend):
        assert told(await person.client.get("/v1/models", x_helix_account=team)) == (404, "account_not_found")
        assert (await person.send("GET", ORGANIZATIONS))["data"] == []
    await owner.send("POST", "/v1/users/me/restore", {"token": closed["restore_token"]})
    assert (await owner.client.get("/v1/models", x_helix_account=team)).status == 200


async def test_nobody_is_handed_a_key_that_acts_as_somebody_else(
    helix: Helix, owner: Somebody, friend: Somebody, team: str
) -> None:
    await joins(helix, owner, team, friend, "admin")
    owners = await owner.send("POST", KEYS, {}, x_helix_account=team)
    leaders = await owner.send("POST", KEYS, {"owner": "team", "role": "admin"}, x_helix_account=team)
    to_team = {"x_helix_account": team}

    assert told(await friend.client.post(f"{KEYS}/{owners['id']}/rotate", {}, **to_team)) == (403, "role_missing")
    await friend.send("PATCH", f"{KEYS}/{owners['id']}", {"name": "the owner's"}, **to_team)
    await friend.send("POST", f"{KEYS}/{leaders['id']}/rotate", {}, **to_team)

    await owner.send("PATCH", f"{ORGANIZATIONS}/{team}/members/{friend.id}", {"role": "developer"})
    for method, path, body in (
        ("PATCH", f"{KEYS}/{owners['id']}", {"name": "x"}),
        ("PATCH", f"{KEYS}/{leaders['id']}", {"name": "x"}),
        ("POST", f"{KEYS}/{leaders['id']}/rotate", {}),
        ("DELETE", f"{KEYS}/{owners['id']}", None),
        ("POST", KEYS, {"owner": "team"}),
    ):
        assert told(await friend.client.send(method, path, body, **to_team)) == (403, "role_missing"), path
    his = await friend.send("POST", KEYS, {}, **to_team)
    await friend.send("DELETE", f"{KEYS}/{his['id']}", None, **to_team)
    assert told(await friend.client.post(KEYS, {"owner": "team"})) == (400, "invalid_value")
    assert told(await friend.client.post(KEYS, {"role": "admin"})) == (400, "invalid_value")


async def test_a_key_for_a_team_reaches_no_other_account(
    helix: Helix, owner: Somebody, friend: Somebody, team: str
) -> None:
    other = await team_of(owner, "Second")
    for owned_by in ("person", "team"):
        key = await owner.send("POST", KEYS, {"owner": owned_by, "scopes": ["chat", "keys"]}, x_helix_account=team)
        async with client_of(helix.base_url, key["key"]) as holder:
            for account in (other, owner.id, NOBODY):
                assert told(await holder.get("/v1/models", x_helix_account=account)) == (404, "account_not_found")
            assert (await holder.get("/v1/models", x_helix_account=team)).status == 200


async def test_the_operator_makes_teams_and_gives_them_their_tier(
    helix: Helix, owner: Somebody, friend: Somebody
) -> None:
    def said(*words: str) -> Any:
        ran = helix.run("team", *words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    made = await asyncio.to_thread(said, "create", "By hand", "--owner", owner.email)
    await asyncio.to_thread(said, "member", "add", made["id"], friend.email, "--role", "viewer")
    assert (await friend.client.get("/v1/models", x_helix_account=made["id"])).status == 200
    assert (made["tier"], (await asyncio.to_thread(said, "tier", made["id"], "team"))["tier"]) == ("free", "team")
    await asyncio.to_thread(said, "member", "role", made["id"], friend.email, "owner")
    await asyncio.to_thread(said, "member", "remove", made["id"], owner.email)

    listed = await asyncio.to_thread(said, "member", "list", made["id"])
    assert [(each["email"], each["role"]) for each in listed["data"]] == [(friend.email, "owner")]
    assert told(await owner.client.get("/v1/models", x_helix_account=made["id"])) == (404, "account_not_found")
    assert (await friend.send("GET", f"{ORGANIZATIONS}/{made['id']}"))["tier"] == "team"
