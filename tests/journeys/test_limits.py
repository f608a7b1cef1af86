"""How much an account may ask for, and keys that open no more."""

from __future__ import annotations

import asyncio
from uuid import UUID

from app.log import keys
from tests.journeys.books import Books, soon
from tests.journeys.client import client_of, question
from tests.journeys.running import Helix


async def test_the_eleventh_request_of_a_minute_is_refused_with_the_time_to_come_back(helix: Helix) -> None:
    account = await helix.account("free")
    async with client_of(helix.base_url, account.key) as client:
        taken = [await client.complete(question("one of ten")) for _ in range(10)]
        refused = await client.complete(question("one too many"))

    assert [answer.status for answer in taken] == [200] * 10
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in taken} == {"10"}
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in taken]
    assert left == sorted(left, reverse=True)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_refused_requests_leave_nothing_on_the_log(helix: Helix, books: Books) -> None:
    account = await helix.account("enterprise", "--rate-limit", "1")
    async with client_of(helix.base_url, account.key) as client:
        await client.complete(question("the one"))
        before = await books.lengths()
        refused = [await client.complete(question("too many")) for _ in range(5)]
    assert [answer.status for answer in refused] == [429] * 5
    assert await books.lengths() == before


async def test_a_key_with_a_rate_of_its_own_is_counted_by_itself(helix: Helix) -> None:
    account = await helix.account("free", "--rate-limit", "100")
    async with client_of(helix.base_url, account.key) as client:
        answer = await client.complete(question("hello"))
    assert answer.headers["x-ratelimit-limit-requests"] == "100"


async def test_an_account_without_limits_is_told_of_none(helix: Helix) -> None:
    async with client_of(helix.base_url, helix.facts["api_key"]) as client:
        answer = await client.complete(question("hello"))
    assert [name for name in answer.headers if name.startswith("x-ratelimit")] == []


async def test_more_at_once_than_an_account_may_have_is_refused_and_a_place_comes_free(helix: Helix) -> None:
    account = await helix.account("free", "--rate-limit", "1000")
    slow = question("[delay_ms=1500] slow", "sandbox/faulty")
    async with client_of(helix.base_url, account.key) as client:
        ids = [await client.submit(slow) for _ in range(10)]
        refused = await client.complete(slow)
        assert (refused.status, refused.error["code"]) == (429, "concurrency_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        for id in ids:
            assert (await client.end_of(id))["status"] == "completed"
        assert (await client.complete(question("a place is free"))).status == 200


async def test_a_revoked_key_is_refused_and_the_accounts_other_keys_go_on(helix: Helix) -> None:
    account = await helix.account()
    other = await helix.ask("key", "create", account.email)
    async with client_of(helix.base_url, account.key) as client:
        assert (await client.complete(question("while it lasts"))).status == 200
        await helix.ask("key", "revoke", account.prefix)

        async def refused() -> bool:
            return (await client.complete(question("any more?"))).status == 401

        await soon(refused)
        assert (await client.get("/v1/models")).error["code"] == "invalid_api_key"
    async with client_of(helix.base_url, other["key"]) as client:
        assert (await client.complete(question("still here"))).status == 200


async def test_an_expired_key_is_refused(helix: Helix, books: Books) -> None:
    account = await helix.account("enterprise", "--expires", "1")
    expire = "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE user_id = $1"
    await books.database.execute(expire, UUID(account.id))
    async with client_of(helix.base_url, account.key) as client:
        refused = await client.complete(question("too late"))
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")


async def test_both_headers_that_carry_a_key_are_taken(helix: Helix) -> None:
    key = helix.facts["api_key"]
    async with client_of(helix.base_url, None) as client:
        bearer, header, none = await asyncio.gather(
            client.get("/v1/models", authorization=f"Bearer {key}"),
            client.get("/v1/models", x_api_key=key),
            client.get("/v1/models"),
        )
    assert (bearer.status, header.status, none.status) == (200, 200, 401)


async def test_a_key_with_a_limit_of_its_own_is_held_to_it_beside_the_accounts(helix: Helix) -> None:
    account = await helix.account("pro", "--scope", "chat", "--scope", "keys")
    async with client_of(helix.base_url, account.key) as owner:
        made = (await owner.post("/v1/api-keys", {"scopes": ["chat", "keys"], "rate_limit": 2})).json
        async with client_of(helix.base_url, made["key"]) as slow:
            taken = [await slow.complete(question("two")) for _ in range(2)]
            refused = await slow.complete(question("three"))
            child = (await slow.post("/v1/api-keys", {"scopes": ["chat"]})).json
            raised = await slow.send("PATCH", f"/v1/api-keys/{made['id']}", {"rate_limit": 1000})
            stolen = await slow.post(
                f"/v1/api-keys/{(await owner.get('/v1/api-keys')).json['data'][-1]['id']}/rotate", {}
            )
        async with client_of(helix.base_url, child["key"]) as sibling:
            shared = await sibling.complete(question("four"))
        assert (await owner.complete(question("the account goes on"))).status == 200
        await owner.send("PATCH", f"/v1/api-keys/{made['id']}", {"rate_limit": None})
        async with client_of(helix.base_url, made["key"]) as freed:
            assert (await freed.complete(question("at last"))).status == 200

    assert [answer.status for answer in taken] == [200, 200]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in taken} == {"2"}
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert "of this key of 2 requests a minute" in refused.error["message"]
    assert (shared.status, child["rate_limit"]) == (429, 2), "or a key could make itself as many as it likes"
    assert [(each.status, each.error["param"]) for each in (raised, stolen)] == [(403, "rate_limit")] * 2


async def test_a_days_requests_are_counted_and_what_is_over_is_not_worth_a_retry(helix: Helix, books: Books) -> None:
    account = await helix.account("pro")
    p = books.log.partition_of(account.id)
    await books.log.command("SET", keys.day(p, account.id), 9999)
    async with client_of(helix.base_url, account.key) as client:
        assert (await client.complete(question("the last one"))).status == 200
        refused = await client.complete(question("one too many"))
        limits = (await client.get("/v1/limits")).json

    assert (refused.status, refused.error["code"]) == (429, "daily_limit_exceeded")
    assert "10000 requests a day" in refused.error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(refused.headers["retry-after"]) <= 24 * 3600
    assert (limits["requests_a_day"], limits["requests_today"], limits["tier"]) == (10_000, 10_000, "pro")


async def test_tokens_are_held_before_the_answer_and_set_right_behind_it(helix: Helix) -> None:
    account = await helix.account("free")
    long = " ".join(["word"] * 3000)
    async with client_of(helix.base_url, account.key) as client:
        first = await client.complete(question("two words", max_tokens=30_000))
        second = await client.complete(question("two words", max_tokens=30_000))
        both = await asyncio.gather(
            *(
                client.complete(question(f"[delay_ms=1500] {long}", "sandbox/faulty", max_tokens=30_000))
                for _ in range(2)
            )
        )
        message = await client.post(
            "/v1/messages",
            {"model": "sandbox/echo", "max_tokens": 40_000, "messages": [{"role": "user", "content": long}]},
        )

    assert first.headers["x-ratelimit-limit-tokens"] == "40000"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 10_000
    assert second.status == 200, "what was not used has been given back"
    [refused] = [answer for answer in both if answer.status == 429]
    assert "40000 tokens a minute" in refused.error["message"]
    assert message.status == 429
    assert message.headers["anthropic-ratelimit-tokens-limit"] == "40000"
    assert message.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
