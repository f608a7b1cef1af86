"""What an account may spend: held before a request is asked, charged when it has ended, exact whoever asks at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg
import pytest

from app import accounts
from app.api_keys import new_key
from app.limits import budgets
from app.log import purses
from events.completions import Tier
from events.limits import BudgetReached
from tests.fakes.provider import Provider, Script, openai_answer
from tests.journeys.books import Books, soon
from tests.journeys.client import Client, client_of, question
from tests.journeys.running import Helix

ANSWER = json.dumps(openai_answer("four words of text")).encode()
COST_USD = Decimal("0.000011")
"""Of that answer: seven tokens in, two out, at 1 and 2 dollars for a million."""

ASK = question("spend", "near/small", max_tokens=100)
AT_ONCE = 200
FITTING = 10


@dataclass(frozen=True)
class Payer:
    """An account with a key that may set budgets."""

    id: str
    client: Client
    key: str


@asynccontextmanager
async def paying(helix: Helix, tier: Tier = "enterprise") -> AsyncIterator[Payer]:
    key = new_key()
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        email = f"{key[8:24]}@example.org"
        user = await accounts.create_user(connection, email, tier)
        await accounts.create_key(connection, email, key, scopes=["chat", "keys", "account"])
    finally:
        await connection.close()
    async with client_of(helix.base_url, key) as client:
        yield Payer(user.id, client, key)


@pytest.fixture
async def payer(helix: Helix) -> AsyncIterator[Payer]:
    async with paying(helix) as made:
        yield made


async def put(payer: Payer, place: str, limit_usd: str, **more: object) -> Any:
    answer = await payer.client.send("PUT", f"/v1/budgets/{place}", {"limit_usd": limit_usd, **more})
    assert answer.status == 200, answer.body
    return answer.json


async def credit(books: Books, account: str, nanousd: int) -> None:
    """As `helix budget credit` does, but for the word to the others: the account has not been seen yet."""
    forget = partial(purses.forget, books.log)
    await budgets.credit(books.database, account, nanousd, by="operator", forget=forget)


async def only(payer: Payer) -> Any:
    [one] = (await payer.client.get("/v1/budgets")).json["data"]
    return one


async def settled(payer: Payer) -> Any:
    """The one budget, once nothing is in flight."""

    async def nothing_held() -> bool:
        return Decimal((await only(payer))["reserved_usd"]) == 0

    await soon(nothing_held)
    return await only(payer)


async def price_of_one(payer: Payer, provider: Provider) -> int:
    """What one ASK reserves, in nano-dollars: seen while it is in flight."""
    provider.scripts[:] = [Script((ANSWER,), delay_s=0.3)]
    await put(payer, "account/day/soft", "1000")
    await payer.client.submit(ASK)
    held = Decimal((await only(payer))["reserved_usd"])
    await settled(payer)
    assert (await payer.client.send("DELETE", "/v1/budgets/account/day/soft")).json["deleted"]
    return int(held * 10**9)


async def test_of_two_hundred_at_once_a_balance_for_ten_lets_in_ten(
    helix: Helix, books: Books, provider: Provider, payer: Payer
) -> None:
    one = await price_of_one(payer, provider)
    provider.scripts[:] = [Script((ANSWER,), delay_s=2.5)]
    async with paying(helix) as poor:
        await credit(books, poor.id, FITTING * one)

        said = await asyncio.gather(*(poor.client.complete(ASK, prefer="respond-async") for _ in range(AT_ONCE)))

        assert Counter(answer.status for answer in said) == {202: FITTING, 402: AT_ONCE - FITTING}
        [refused, *_] = (answer for answer in said if answer.status == 402)
        assert refused.error["code"] == refused.error["type"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        for answer in said:
            if answer.status == 202:
                assert (await poor.client.end_of(answer.json["id"]))["status"] == "completed"
        assert Decimal((await settled(poor))["spent_usd"]) == FITTING * COST_USD


async def test_a_hard_budget_refuses_and_says_which_how_much_and_until_when(provider: Provider, payer: Payer) -> None:
    provider.scripts[:] = [Script((ANSWER,))]
    await put(payer, "account/month/hard", "0.0005")
    assert (await payer.client.complete(ASK)).status == 200
    assert Decimal((await settled(payer))["spent_usd"]) == COST_USD

    refused = await payer.client.complete(ASK | {"max_tokens": 1000})

    assert (refused.status, refused.error["code"]) == (429, "billing_hard_limit_reached")
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 0
    assert "$0.0005" in refused.error["message"]
    assert "monthly budget" in refused.error["message"]
    assert (await payer.client.complete(ASK)).status == 200, "a smaller one still fits"


async def test_a_budget_counts_what_was_spent_before_it_was_set(provider: Provider, payer: Payer) -> None:
    provider.scripts[:] = [Script((ANSWER,))]
    for _ in range(3):
        assert (await payer.client.complete(ASK)).status == 200

    view = await put(payer, "account/day/hard", "1.00")

    assert Decimal(view["spent_usd"]) == 3 * COST_USD
    assert (view["kind"], view["subject"], view["period"]) == ("hard", "account", "day")


async def test_what_fails_and_what_is_cancelled_holds_nothing_afterwards(provider: Provider, payer: Payer) -> None:
    await put(payer, "account/day/hard", "1.00")
    provider.scripts[:] = [Script((b'{"error": {"message": "no"}}',), status=400)]
    assert (await payer.client.complete(ASK)).status == 400
    provider.scripts[:] = [Script((ANSWER,), delay_s=30)]
    request = await payer.client.submit(ASK)
    assert Decimal((await only(payer))["reserved_usd"]) > 0
    await payer.client.post(f"/v1/requests/{request}/cancel")

    assert Decimal((await settled(payer))["spent_usd"]) == 0


async def test_a_soft_budget_tells_and_refuses_nothing(books: Books, provider: Provider, payer: Payer) -> None:
    provider.scripts[:] = [Script((ANSWER,))]
    await put(payer, "account/day/soft", "0.00002", alert_percent=[50, 100])
    for _ in range(2):
        assert (await payer.client.complete(ASK)).status == 200
    assert (await settled(payer))["reached_percent"] == [50, 100]

    async def told() -> list[int]:
        said = [one.body for one in await books.events() if one.account == payer.id]
        return [fact.percent for fact in said if isinstance(fact, BudgetReached)]

    async def both() -> bool:
        return len(await told()) == 2

    await soon(both)
    assert sorted(await told()) == [50, 100]


async def test_a_keys_budget_holds_that_key_and_those_it_makes(helix: Helix, provider: Provider, payer: Payer) -> None:
    provider.scripts[:] = [Script((ANSWER,))]
    made = (await payer.client.post("/v1/api-keys", {"scopes": ["chat", "keys", "account"]})).json
    await put(payer, f"key:{made['id']}/day/hard", "0.00001")
    async with client_of(helix.base_url, made["key"]) as poor:
        assert (await poor.complete(ASK)).error["code"] == "billing_hard_limit_reached"
        raised = await poor.send("PUT", f"/v1/budgets/key:{made['id']}/day/hard", {"limit_usd": "9.00"})
        assert (raised.status, raised.error["code"]) == (403, "key_has_budget")
        child = (await poor.post("/v1/api-keys", {})).json
    async with client_of(helix.base_url, child["key"]) as poor:
        assert (await poor.complete(ASK)).error["code"] == "billing_hard_limit_reached"
    rotated = (await payer.client.post(f"/v1/api-keys/{made['id']}/rotate", {})).json
    async with client_of(helix.base_url, rotated["key"]) as poor:
        assert (await poor.complete(ASK)).error["code"] == "billing_hard_limit_reached"
    assert (await payer.client.complete(ASK)).status == 200, "the account's other keys go on"


async def test_a_model_that_costs_nothing_is_held_to_no_budget(payer: Payer) -> None:
    await put(payer, "account/day/hard", "0")
    assert (await payer.client.complete(question("free"))).status == 200


async def test_another_accounts_key_can_have_no_budget_of_ours(helix: Helix, payer: Payer) -> None:
    async with paying(helix) as other:
        theirs = (await other.client.get("/v1/api-keys")).json["data"][0]["id"]
    for id in (theirs, "01900000-0000-7000-8000-00000000dead", "nonsense"):
        refused = await payer.client.send("PUT", f"/v1/budgets/key:{id}/day/hard", {"limit_usd": "1"})
        assert (refused.status, refused.error["code"]) == (404, "not_found")


@pytest.mark.parametrize("limit", ["-1", "1e3", "NaN", "", "99999999", "1.0000000001", 5, None])
async def test_a_limit_that_is_no_sum_of_money_is_refused(payer: Payer, limit: object) -> None:
    refused = await payer.client.send("PUT", "/v1/budgets/account/day/hard", {"limit_usd": limit})
    assert (refused.status, refused.error["param"]) == (400, "limit_usd")


async def test_the_operator_fills_a_balance_and_gives_limits_on_the_command_line(
    helix: Helix, provider: Provider, payer: Payer
) -> None:
    provider.scripts[:] = [Script((ANSWER,))]
    filled = await helix.ask("budget", "credit", payer.id, "0.0001")
    assert (filled["period"], filled["limit_usd"]) == ("ever", "0.000100000")
    refused = await payer.client.complete(ASK)
    assert (refused.status, refused.error["code"]) == (402, "insufficient_quota")
    await helix.ask("budget", "credit", payer.id, "5")
    assert (await payer.client.complete(ASK)).status == 200
    listed = (await helix.ask("budget", "list", payer.id))["data"]
    assert [one["limit_usd"] for one in listed] == ["5.000100000"]

    await helix.ask("limits", "set", payer.id, "requests_a_day=2", "tokens_a_minute=none")
    assert (await payer.client.get("/v1/limits")).json["requests_a_day"] == 2
    said = [(await payer.client.complete(question("free"))).status for _ in range(3)]
    assert said == [200, 200, 429]

    nonsense = await asyncio.gather(
        *(
            asyncio.to_thread(helix.run, *words)
            for words in (
                ("budget", "credit", payer.id, "1e400"),
                ("budget", "credit", "nobody@example.org", "1"),
                ("budget", "set", payer.id, "1", "--for", "key:nonsense"),
                ("limits", "set", payer.id, "speed=3"),
            )
        )
    )
    assert [ran.returncode for ran in nonsense] == [2] * 4
    assert all(ran.stderr.count("\n") == 1 for ran in nonsense)


async def test_a_members_budget_holds_him_in_his_team_and_nobody_else(
    helix: Helix, provider: Provider, payer: Payer
) -> None:
    provider.scripts[:] = [Script((ANSWER,))]
    team = (await payer.client.post("/v1/organizations", {"name": "spenders"})).json["id"]
    acting = {"x_helix_account": team}
    assert (await payer.client.complete(ASK, **acting)).status == 200
    body = {"limit_usd": "0.0002"}
    place = f"/v1/budgets/member:{payer.id}/day/hard"
    mine = (await payer.client.send("PUT", place, body, **acting)).json

    refused = await payer.client.complete(ASK | {"max_tokens": 500}, **acting)
    made = (await payer.client.post("/v1/api-keys", {"owner": "team"}, **acting)).json
    async with client_of(helix.base_url, made["key"]) as teams_own:
        beside = await teams_own.complete(ASK | {"max_tokens": 500})

    assert Decimal(mine["spent_usd"]) == COST_USD, "what he has spent in the team by then"
    assert (refused.status, refused.error["code"]) == (429, "billing_hard_limit_reached")
    assert "of this member" in refused.error["message"]
    assert beside.status == 200
    assert (await payer.client.complete(ASK | {"max_tokens": 500})).status == 200, "in his own account he is free"
    stranger = await payer.client.send("PUT", f"/v1/budgets/member:{team}/day/hard", body, **acting)
    assert (stranger.status, stranger.error["code"]) == (404, "not_found")
