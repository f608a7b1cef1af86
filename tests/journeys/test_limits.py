"""How much an account may ask for, and keys that open no more."""

from __future__ import annotations

import asyncio
from uuid import UUID

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
