"""The list of an account's requests: newest first, by cursor, filtered; what was answered a moment ago is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.provider import EVENTS, Provider, Script, openai_events
from tests.journeys.client import Client, client_of, question
from tests.journeys.running import Helix


@pytest.fixture
async def newcomer(helix: Helix) -> AsyncIterator[Client]:
    """An account that has asked for nothing yet."""
    account = await helix.account()
    async with client_of(helix.base_url, account.key) as made:
        yield made


async def listed(client: Client, query: str = "") -> list[str]:
    answer = await client.get(f"/v1/requests?{query}")
    assert (answer.status, answer.json["object"]) == (200, "list")
    return [view["id"] for view in answer.json["data"]]


async def test_pages_show_every_request_once_and_newest_first(newcomer: Client) -> None:
    assert (await newcomer.get("/v1/requests")).json == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }
    asked = [(await newcomer.complete(question(f"number {number}"))).request for number in range(7)]

    pages, after = [], ""
    while True:
        page = (await newcomer.get(f"/v1/requests?limit=3{after}")).json
        pages.append([view["id"] for view in page["data"]])
        assert (page["first_id"], page["last_id"]) == (pages[-1][0], pages[-1][-1])
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [id for page in pages for id in page] == asked[::-1]


async def test_what_was_answered_a_moment_ago_is_in_the_list(client: Client) -> None:
    for number in range(10):
        request = (await client.complete(question(f"just now {number}"))).request
        assert (await listed(client, "limit=1")) == [request]


async def test_filters_by_status_and_model(newcomer: Client, provider: Provider) -> None:
    provider.scripts[:] = [Script(openai_events(["on"])[:2], content_type=EVENTS, ending="silent")]
    echoed = (await newcomer.complete(question("echo"))).request
    failed = (await newcomer.complete(question("[status=400] no", "sandbox/faulty"))).request
    running = await newcomer.submit(question("on and on", "near/small", stream=True))

    assert await listed(newcomer) == [running, failed, echoed]
    assert await listed(newcomer, "status=completed") == [echoed]
    assert await listed(newcomer, "status=failed") == [failed]
    assert await listed(newcomer, "model=sandbox/echo") == [echoed]
    assert await listed(newcomer, "model=near/small") == [running]
    assert await listed(newcomer, "model=near/small&status=completed") == []
    assert await listed(newcomer, f"after={running}") == [failed, echoed]

    await newcomer.post(f"/v1/requests/{running}/cancel")
    assert await listed(newcomer, "status=cancelled") == [running]
    assert await listed(newcomer, "status=running") == []


async def test_nobody_sees_another_accounts_requests(client: Client, stranger: Client) -> None:
    mine = (await client.complete(question("mine"))).request
    theirs = (await stranger.complete(question("theirs"))).request
    assert mine not in await listed(stranger, "limit=100")
    assert theirs not in await listed(client, "limit=100")


async def test_an_entry_says_how_it_went_and_not_what_was_said(client: Client) -> None:
    request = (await client.complete(question("a word that must not be listed"))).request
    answer = await client.get("/v1/requests?limit=1")
    (view,) = answer.json["data"]
    assert (view["id"], view["status"], view["model"]) == (request, "completed", "sandbox/echo")
    assert b"must not be listed" not in answer.body
