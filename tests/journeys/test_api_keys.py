"""Keys in their owners' hands: made, bounded, changed, rotated, revoked; and nobody gets more than he has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app import accounts
from app.api_keys import new_key
from tests.journeys.client import Answer, Client, client_of, question
from tests.journeys.running import Helix

KEYS = "/v1/api-keys"
JUNK = 1000
SOON_S = 5.0
"""The promise: within so many seconds a key that is over is refused."""


@pytest.fixture
async def owner(helix: Helix) -> AsyncIterator[Client]:
    """An account of the test's own, its key with the scope `keys`."""
    async with client_of(helix.base_url, await operators_key(helix, ["chat", "keys"])) as made:
        yield made


async def operators_key(helix: Helix, scopes: list[str], **more: Any) -> str:
    """A new account → its first key, as the operator makes it."""
    key = new_key()
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        email = f"{key[8:24]}@example.org"
        await accounts.create_user(connection, email, "enterprise")
        await accounts.create_key(connection, email, key, scopes=scopes, **more)
    finally:
        await connection.close()
    return key


async def made(owner: Client, **body: object) -> Any:
    answer = await owner.post(KEYS, body)
    assert answer.status == 201, answer.body
    return answer.json


def holding(helix: Helix, key: Any) -> AbstractAsyncContextManager[Client]:
    return client_of(helix.base_url, key["key"])


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error["code"]


async def test_a_key_is_shown_once_and_opens_the_door(helix: Helix, owner: Client) -> None:
    key = await made(owner, name="batch", scopes=["chat"])

    async with holding(helix, key) as holder:
        assert (await holder.complete(question("hello"))).text == "hello"
    listed = await owner.get(KEYS)
    shown = await owner.get(f"{KEYS}/{key['id']}")

    assert listed.json["data"][0]["id"] == key["id"]
    assert shown.json == {name: value for name, value in key.items() if name != "key"}
    assert key["key"].encode() not in listed.body + shown.body


async def test_lists_go_on_behind_a_key(owner: Client) -> None:
    ids = [(await made(owner, name=f"number {number}"))["id"] for number in range(3)]

    first = (await owner.get(f"{KEYS}?limit=2")).json
    then = (await owner.get(f"{KEYS}?limit=2&after={first['last_id']}")).json

    assert [each["id"] for each in first["data"]] == [ids[2], ids[1]]
    assert then["data"][0]["id"] == ids[0]
    assert (first["has_more"], then["has_more"]) == (True, False)
    assert told(await owner.get(f"{KEYS}?after=nobody")) == (400, "invalid_value")


async def test_without_the_scope_nobody_manages_keys(helix: Helix, owner: Client) -> None:
    key = await made(owner)

    async with holding(helix, key) as holder:
        for answer in (
            await holder.post(KEYS, {}),
            await holder.get(KEYS),
            await holder.send("DELETE", f"{KEYS}/{key['id']}"),
        ):
            assert told(answer) == (403, "scope_missing")


async def test_another_accounts_key_is_as_unknown_as_none(owner: Client, client: Client) -> None:
    key = await made(client, name="the developer's")
    nobody = "01900000-0000-7000-8000-000000000000"

    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        answers = [
            await owner.send(method, f"{KEYS}/{id}{path}", None if method == "GET" else {})
            for id in (key["id"], nobody, "x")
        ]
        assert {told(answer) for answer in answers} == {(404, "api_key_not_found")}
        assert len({answer.error["message"] for answer in answers}) == 1
    assert (await client.get(f"{KEYS}/{key['id']}")).json["status"] == "active"


async def test_a_key_reaches_the_models_it_is_given_at_every_door(helix: Helix, owner: Client) -> None:
    key = await made(owner, models=["sandbox/echo"])

    async with holding(helix, key) as holder:
        assert (await holder.complete(question("mine"))).text == "mine"
        ask = question("not mine", "sandbox/lorem")
        for path, body in {
            "/v1/chat/completions": ask,
            "/v1/chat": {"messages": ask["messages"]},
            "/v1/responses": {"model": "sandbox/lorem", "input": "x"},
            "/v1/embeddings": {"model": "sandbox/embed", "input": "x"},
        }.items():
            assert told(await holder.post(path, body)) == (404, "model_not_found"), path
        messages = {**ask, "max_tokens": 5}
        assert (await holder.post("/v1/messages", messages)).status == 404
        assert (await holder.post("/v1/messages/count_tokens", ask)).status == 404
        assert {each["id"] for each in (await holder.get("/v1/models")).json["data"]} == {"echo", "sandbox/echo"}
        assert (await holder.get("/v1/models/sandbox/lorem")).status == 404

        alias = {"aliases": {"sandbox/echo": "sandbox/lorem"}}
        assert (await holder.send("PUT", "/v1/routing", alias)).status == 200
        assert told(await holder.complete(question("by an alias"))) == (404, "model_not_found")


async def test_a_key_is_refused_from_addresses_it_is_not_given(helix: Helix, owner: Client) -> None:
    here, elsewhere = [
        await made(owner, allowed_ips=networks) for networks in (["127.0.0.0/8"], ["192.0.2.0/24", "2001:db8::/32"])
    ]

    async with holding(helix, here) as holder:
        assert (await holder.get("/v1/models")).status == 200
    async with holding(helix, elsewhere) as holder:
        assert told(await holder.get("/v1/models", x_forwarded_for="192.0.2.1")) == (403, "ip_not_allowed")
        assert told(await holder.complete(question("x"), cf_connecting_ip="192.0.2.1")) == (403, "ip_not_allowed")


async def test_a_change_holds_at_once_and_leaves_the_rest(helix: Helix, owner: Client) -> None:
    key = await made(owner, name="first", models=["sandbox/echo"])

    async with holding(helix, key) as holder:
        assert (await holder.complete(question("before"))).status == 200
        changed = await owner.send("PATCH", f"{KEYS}/{key['id']}", {"models": ["sandbox/lorem"]})
        assert (changed.status, changed.json["name"], changed.json["models"]) == (200, "first", ["sandbox/lorem"])
        assert (await holder.complete(question("after"))).status == 404


async def test_a_revoked_key_is_over_on_open_event_streams_too(helix: Helix, owner: Client) -> None:
    key = await made(owner)

    async with holding(helix, key) as holder:
        request = await holder.submit(question("[delay_ms=20000] slow", "sandbox/faulty"))
        async with holder.sending("GET", f"/v1/requests/{request}/events") as stream:
            assert stream.status == 200
            assert (await owner.send("DELETE", f"{KEYS}/{key['id']}")).json["status"] == "revoked"
            assert told(await holder.get("/v1/models")) == (401, "invalid_api_key")
            async with asyncio.timeout(SOON_S):
                heard = await stream.content.read()
    assert b"no longer valid" in heard
    await owner.post(f"/v1/requests/{request}/cancel")


async def test_who_waits_with_a_key_that_is_revoked_meanwhile_is_told_nothing(helix: Helix, owner: Client) -> None:
    key = await made(owner)

    async with holding(helix, key) as holder:
        request = await holder.submit(question("[delay_ms=1000] said later", "sandbox/faulty"))
        waiting = asyncio.create_task(holder.get(f"/v1/requests/{request}?wait=30"))
        await asyncio.sleep(0.3)
        await owner.send("DELETE", f"{KEYS}/{key['id']}")

        assert told(await waiting) == (401, "invalid_api_key")
    assert (await owner.end_of(request))["status"] == "completed"


async def test_a_revoked_key_hears_no_more_of_a_response(helix: Helix, owner: Client) -> None:
    key = await made(owner)

    async with holding(helix, key) as holder:
        ask = {"model": "sandbox/faulty", "input": "[delay_ms=20000] slow", "background": True}
        response = (await holder.post("/v1/responses", ask)).json["id"]
        async with holder.sending("GET", f"/v1/responses/{response}?stream=true") as stream:
            assert stream.status == 200
            await owner.send("DELETE", f"{KEYS}/{key['id']}")
            async with asyncio.timeout(SOON_S):
                heard = await stream.content.read()
    assert b"event: response.failed" in heard
    assert b"no longer valid" in heard
    await owner.post(f"/v1/responses/{response}/cancel")


async def test_a_rotated_key_goes_on_for_its_grace_time_and_no_longer(helix: Helix, owner: Client) -> None:
    key = await made(owner, name="rotated", models=["sandbox/echo"])
    answer = await owner.post(f"{KEYS}/{key['id']}/rotate", {"grace_s": 3})
    new = answer.json
    old = (await owner.get(f"{KEYS}/{key['id']}")).json

    assert (answer.status, new["name"], new["models"], old["replaced_by"]) == (201, "rotated", key["models"], new["id"])
    assert told(await owner.post(f"{KEYS}/{key['id']}/rotate")) == (409, "api_key_ended")
    async with holding(helix, key) as before, holding(helix, new) as after:
        assert [(await each.get("/v1/models")).status for each in (before, after)] == [200, 200]
        async with asyncio.timeout(3 + SOON_S):
            while (await before.get("/v1/models")).status != 401:  # noqa: ASYNC110  # time itself is waited for
                await asyncio.sleep(0.2)
        assert (await after.get("/v1/models")).status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(
        ["user_id", "account", "tenant_id", "tier", "rate_limit_override", "id", "key_hash", "key",
         "counted_as", "revoked_at", "replaced_by", "created_at", "status"]
    ),
    value=st.none() | st.booleans() | st.integers(0, 2**40) | st.text(max_size=20),
)  # fmt: skip
def test_what_is_not_a_keys_to_write_is_refused(field: str, value: object) -> None:
    from pydantic import ValidationError

    from app.http.key_shapes import KeyChange, KeyCreate, KeyRotate

    for shape in (KeyCreate, KeyChange, KeyRotate):
        with pytest.raises(ValidationError, match="extra"):
            shape.model_validate({field: value})


async def test_nobody_gets_more_than_he_has_by_any_field(helix: Helix, owner: Client) -> None:
    bounds = {
        "models": ["sandbox/echo"],
        "allowed_ips": ["127.0.0.0/16"],
        "expires_at": "2100-01-01T00:00:00Z",
        "scopes": ["chat", "keys"],
    }
    more: list[dict[str, object]] = [
        {"scopes": ["agents"]},
        {"scopes": ["admin"]},
        {"models": None},
        {"models": ["auto"]},
        {"models": ["sandbox/echo", "sandbox/lorem"]},
        {"allowed_ips": None},
        {"allowed_ips": ["127.0.0.0/8"]},
        {"allowed_ips": ["127.0.0.1", "::1"]},
        {"expires_at": None},
        {"expires_at": "2100-01-01T00:00:01Z"},
    ]
    bounded = await made(owner, **bounds)
    stronger = await made(owner, name="the account's best")

    async with holding(helix, bounded) as maker:
        like_it = await made(maker)
        assert {name: like_it[name] for name in ("models", "allowed_ips", "scopes")} == {
            **{name: bounds[name] for name in ("models", "allowed_ips")},
            "scopes": ["chat"],
        }
        for wanted in more:
            assert told(await maker.post(KEYS, wanted)) == (403, "right_lacking"), wanted
            for target in (like_it, bounded):
                assert told(await maker.send("PATCH", f"{KEYS}/{target['id']}", wanted)) == (403, "right_lacking"), (
                    wanted
                )
        assert told(await maker.post(f"{KEYS}/{stronger['id']}/rotate")) == (403, "right_lacking")
        assert told(await maker.send("PATCH", f"{KEYS}/{stronger['id']}", {"name": "mine"})) == (403, "right_lacking")


async def test_keys_of_a_key_share_its_rate(helix: Helix) -> None:
    async with client_of(helix.base_url, await operators_key(helix, ["chat", "keys"], rate_limit_override=3)) as first:
        second = await made(first)
        rotated = (await first.post(f"{KEYS}/{second['id']}/rotate")).json
        statuses = []
        for key in (second, rotated, second, rotated):
            async with holding(helix, key) as holder:
                statuses.append((await holder.complete(question("x"))).status)

    assert statuses == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"models": ["nobody/nothing"]}, "models"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips[0]"),
        ({"allowed_ips": [1]}, "allowed_ips[0]"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"name": "a\u0007b"}, "name"),
        ({"tier": "enterprise"}, "tier"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(owner: Client, body: object, param: str) -> None:
    answer = await owner.post(KEYS, body)

    assert (answer.status, answer.error["param"]) == (400, param)


async def test_junk_for_a_key_reaches_no_server_behind_the_door(helix: Helix, client: Client) -> None:
    """Each server counts what it is asked; what the processes ask of themselves in that time is the only other thing."""
    assert (await client.get("/v1/models")).status == 200
    connection = await asyncpg.connect(helix.facts["database_url"])
    looked_up = (
        "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'api_keys_key_hash_key'"
    )
    log = Redis.from_url(helix.facts["redis_url"])
    try:
        scans, admissions = await connection.fetchval(looked_up), await _scripts(log)
        async with client_of(helix.base_url, None) as junk:
            for start in range(0, JUNK, 50):
                keys = [f"hx_user_{number:064x}aaaaaa" for number in range(start, start + 50)]
                asked = (junk.complete(question("x"), authorization=f"Bearer {key}") for key in keys)
                assert {told(answer) for answer in await asyncio.gather(*asked)} == {(401, "invalid_api_key")}
        await asyncio.sleep(1.2)  # Postgres counts once a second
        assert await connection.fetchval(looked_up) - scans < JUNK / 10
        assert await _scripts(log) - admissions < JUNK / 10
    finally:
        await connection.close()
        await log.aclose()


async def _scripts(log: Redis) -> int:
    """How many scripts the log server has run: an admission is one."""
    told: dict[str, dict[str, int]] = await log.info("commandstats")
    return sum(stats["calls"] for name, stats in told.items() if name in ("cmdstat_evalsha", "cmdstat_fcall"))
