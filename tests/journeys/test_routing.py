"""Routing as an account sees it: its own names and fallbacks, whom it never asks, why somebody was chosen, who rests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from app import accounts, routing_policies
from app.api_keys import new_key
from handlers.rules.policy import AccountPolicy
from tests.fakes.provider import Provider, Script, openai_answer
from tests.journeys.client import Client, client_of, question
from tests.journeys.running import Helix

ACCOUNTS = 200
NEAR = "near/small"


@pytest.fixture
async def customer(helix: Helix) -> AsyncIterator[Client]:
    """An account of the test's own, for it changes what it wants."""
    (key,) = await keys(helix, [None])
    async with client_of(helix.base_url, key) as made:
        yield made


async def keys(helix: Helix, policies: Sequence[AccountPolicy | None]) -> list[str]:
    """A new account for each policy → their keys."""
    made = [new_key() for _ in policies]
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        for key, policy in zip(made, policies, strict=True):
            email = f"{key[8:24]}@example.org"
            user = await accounts.create_user(connection, email, "enterprise")
            await accounts.create_key(connection, email, key)
            if policy is not None:
                await routing_policies.put(connection, user.id, policy)
    finally:
        await connection.close()
    return made


async def put(client: Client, **policy: object) -> Any:
    answer = await client.send("PUT", "/v1/routing", policy)
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_name_of_the_accounts_own_stands_for_a_model_and_for_nobody_else(
    customer: Client, stranger: Client, provider: Provider
) -> None:
    written = await put(customer, aliases={"mine": "sandbox/echo"}, optimize="cost")

    assert (await customer.get("/v1/routing")).json == written
    assert (await customer.complete(question("mine it is", "mine"))).text == "mine it is"
    assert (await stranger.complete(question("not mine", "mine"))).status == 404
    assert (await stranger.get("/v1/routing")).json["aliases"] == {}

    assert (await customer.send("DELETE", "/v1/routing")).status == 200
    assert (await customer.complete(question("mine no more", "mine"))).status == 404


async def test_who_fails_is_followed_by_the_accounts_own_chain(customer: Client, provider: Provider) -> None:
    provider.scripts[:] = [Script((b"{}",), status=500)]
    await put(customer, fallbacks={NEAR: ["sandbox/echo"]})

    answer = await customer.post("/v1/chat", question("speak", NEAR))

    assert answer.text == "speak"
    assert (answer.headers["x-helix-provider"], answer.headers["x-helix-attempts"]) == ("sandbox", "2")
    assert answer.json["routing"]["considered"] == [NEAR, "sandbox/echo"]
    assert "near/small → sandbox/echo" in answer.json["routing"]["reason"]
    view = await customer.end_of(answer.request)
    assert [(one["provider"], one["why"]) for one in view["attempts"]] == [("near", "server_error"), ("sandbox", None)]
    assert view["routing"]["considered"] == [NEAR, "sandbox/echo"]


async def test_a_refused_question_is_shown_only_to_whom_the_chain_names(customer: Client, provider: Provider) -> None:
    refusal = {"error": {"message": "no", "type": "invalid_request_error", "code": "content_filter"}}
    provider.scripts[:] = [Script((json.dumps(refusal).encode(),), status=400)]

    assert (await customer.complete(question("speak", NEAR))).error["code"] == "content_filter"
    await put(customer, fallbacks={NEAR: ["sandbox/echo"]})
    assert (await customer.complete(question("speak", NEAR))).text == "speak"


async def test_a_provider_that_is_never_asked_is_not_asked_and_it_is_said_why(
    customer: Client, provider: Provider
) -> None:
    await put(customer, never=["near"])

    refused = await customer.complete(question("speak", NEAR))

    assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    assert provider.asked == []
    view = await customer.end_of(refused.request)
    assert view["routing"]["passed_over"] == [{"offer": NEAR, "why": "a provider the account never asks"}]


@pytest.mark.parametrize(
    ("policy", "code", "param"),
    [
        ({"aliases": {"a": "unheard-of"}}, "model_not_found", "aliases"),
        ({"fallbacks": {NEAR: ["unheard-of"]}}, "model_not_found", "fallbacks"),
        ({"only": ["nobody"]}, "provider_not_found", "only"),
        ({"never": ["nobody"]}, "provider_not_found", "never"),
        ({"cache_ttl_s": "60"}, "invalid_type", "cache_ttl_s"),
        ({"luck": True}, "invalid_value", "luck"),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused_and_changes_nothing(
    client: Client, policy: dict[str, object], code: str, param: str
) -> None:
    refused = await client.send("PUT", "/v1/routing", policy)

    assert (refused.status, refused.error["code"], refused.error["param"]) == (400, code, param)
    assert (await client.get("/v1/routing")).json["updated_at"] is None


async def test_how_the_providers_stand_is_told(client: Client, provider: Provider) -> None:
    provider.scripts[:] = [Script((json.dumps(openai_answer("well")).encode(),))]

    # It failed in other tests before, so it may take a rest and two good answers until it is well.
    async with asyncio.timeout(30):
        while not well(near := await model(client, NEAR)):
            await client.complete(question("speak", NEAR))
            await asyncio.sleep(0.1)

    assert near["calls"] > 0
    assert {"until", "since", "why", "error_rate"} <= near.keys()


def well(model: dict[str, Any]) -> bool:
    return model["status"] == "healthy" and model["latency_ms"]["p50"] is not None


async def model(client: Client, id: str) -> dict[str, Any]:
    status = (await client.get("/v1/providers/status")).json
    (found,) = [one for each in status["data"] for one in each["models"] if one["id"] == id]
    return dict(found)


async def test_nobody_without_a_key_is_told(helix: Helix) -> None:
    async with client_of(helix.base_url, None) as nobody:
        for path in ("/v1/providers/status", "/v1/routing"):
            assert (await nobody.get(path)).error["code"] == "invalid_api_key"


async def test_two_hundred_accounts_at_once_never_get_each_others(helix: Helix, provider: Provider) -> None:
    """The same name stands for something else with each; each says a word of its own, and finds only its own request."""
    provider.scripts[:] = [Script((json.dumps(openai_answer("from near")).encode(),))]
    wishes = [
        AccountPolicy(aliases={"mine": "sandbox/echo"}),
        AccountPolicy(aliases={"mine": NEAR}),
        AccountPolicy(aliases={"mine": "sandbox/echo"}, never=("sandbox",)),
    ]
    made = await keys(helix, [wishes[number % 3] for number in range(ACCOUNTS)])

    async def live(number: int, key: str) -> None:
        async with client_of(helix.base_url, key) as one:
            answer = await one.complete(question(f"I am {number}", "mine"))
            while answer.status == 503:  # two hundred keys are looked up at once: a slow machine asks to come again
                await asyncio.sleep(float(answer.headers["retry-after"]))
                answer = await one.complete(question(f"I am {number}", "mine"))
            if number % 3 == 2:
                assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
            else:
                assert answer.text == (f"I am {number}" if number % 3 == 0 else "from near")
            own.append((key, answer.request))

    own: list[tuple[str, str]] = []
    await asyncio.gather(*(live(number, key) for number, key in enumerate(made)))
    assert len({request for _, request in own}) == ACCOUNTS
    for key, request in own[:: ACCOUNTS // 10]:
        async with client_of(helix.base_url, key) as one:
            assert [listed["id"] for listed in (await one.get("/v1/requests")).json["data"]] == [request]
            other = own[1][1] if own[0][0] == key else own[0][1]
            assert (await one.get(f"/v1/requests/{other}")).status == 404
