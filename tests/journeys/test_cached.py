"""Asked again, answered for nothing: the response cache as its clients see it, and what it leaves in the books."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import pytest

from tests.fakes.provider import Provider, Script, openai_answer
from tests.journeys.books import Books
from tests.journeys.client import Answer, Client, chunks, client_of, question
from tests.journeys.running import Helix

SLOW_S = 1.0
"""Long enough for a hundred requests to come in while the first is being answered."""


def asked(**more: object) -> dict[str, object]:
    """A question that no test has asked before."""
    return question(f"the answer to {secrets.token_hex(8)}", "near/small", **more)


def cached(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.headers["x-helix-cache"], answer.headers.get("x-helix-cost-usd", "")


async def given(client: Client, body: dict[str, object], path: str = "/v1/chat/completions", **headers: str) -> Answer:
    answer = await client.post(path, body, x_helix_cache="on", **headers)
    assert answer.status == 200, answer.body
    return answer


async def test_the_second_answer_costs_nothing_and_says_so(client: Client, provider: Provider, books: Books) -> None:
    body = asked(temperature=0)
    first = await given(client, body)
    again = await given(client, dict(reversed(body.items())))
    without = await client.complete(body)

    assert [cached(answer) for answer in (first, again, without)] == [
        (200, "miss", "0.000011000"),
        (200, "hit", "0.000000000"),
        (200, "miss", "0.000011000"),
    ]
    assert len(provider.asked) == 2
    assert again.text == first.text
    assert again.json["usage"] == first.json["usage"]
    assert again.json["id"] == again.request.replace("req_", "chatcmpl-")
    assert b"cache" not in provider.asked[0].body

    requests = [answer.request for answer in (first, again, without)]
    assert await books.usage(requests) == dict.fromkeys(requests, 1)
    rows = await books.database.fetch(
        "SELECT request_id, cached, cost_usd * 1e9 AS cost, saved_usd * 1e9 AS saved, total_tokens FROM usage "
        "WHERE request_id = ANY($1::text[]) ORDER BY request_id",
        requests,
    )
    assert [(row["cached"], int(row["cost"]), int(row["saved"]), row["total_tokens"]) for row in rows] == [
        (False, 11_000, 0, 9),
        (True, 0, 11_000, 9),
        (False, 11_000, 0, 9),
    ]


async def test_a_hundred_at_once_are_one_call_to_the_provider(client: Client, provider: Provider, books: Books) -> None:
    provider.scripts = [Script((json.dumps(openai_answer("forty-two")).encode(),), delay_s=SLOW_S)]
    body = asked()
    answers = await asyncio.gather(*(given(client, body) for _ in range(100)))

    assert len(provider.asked) == 1
    assert {answer.text for answer in answers} == {"forty-two"}
    assert len({answer.json["id"] for answer in answers}) == 100
    assert sorted(answer.headers["x-helix-cache"] for answer in answers) == ["hit"] * 99 + ["miss"]
    requests = [answer.request for answer in answers]
    assert await books.usage(requests) == dict.fromkeys(requests, 1)
    (row,) = await books.database.fetch(
        "SELECT count(*) FILTER (WHERE cost_usd = 0 AND cached) AS free, count(*) FILTER (WHERE cost_usd > 0) AS paid "
        "FROM usage WHERE request_id = ANY($1::text[])",
        requests,
    )
    assert (row["free"], row["paid"]) == (99, 1)


async def test_a_kept_answer_comes_as_a_stream_to_who_wants_one(client: Client, provider: Provider) -> None:
    body = asked()
    first = await given(client, body)
    again = await given(client, body | {"stream": True, "stream_options": {"include_usage": True}})
    bare = await given(client, body | {"stream": True})

    assert (again.headers["x-helix-cache"], bare.headers["x-helix-cache"]) == ("hit", "hit")
    assert again.text == bare.text == first.text
    told = chunks(again.body)
    assert told[-1]["usage"] == first.json["usage"]
    assert {chunk["object"] for chunk in told} == {"chat.completion.chunk"}
    assert again.body.endswith(b"data: [DONE]\n\n")
    assert all("usage" not in chunk for chunk in chunks(bare.body))
    assert len(provider.asked) == 1


async def test_anthropics_messages_are_kept_by_themselves(client: Client, provider: Provider) -> None:
    body = asked(max_tokens=100)
    await given(client, body)
    first = await given(client, body, "/v1/messages")
    whole = await given(client, body, "/v1/messages")
    stream = await given(client, body | {"stream": True}, "/v1/messages")

    assert [answer.headers["x-helix-cache"] for answer in (first, whole, stream)] == ["miss", "hit", "hit"]
    assert whole.json["content"] == first.json["content"]
    assert whole.json["id"] == whole.request.replace("req_", "msg_")
    kinds = [said["type"] for said in chunks(stream.body)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert "content_block_delta" in kinds
    assert len(provider.asked) == 2


async def test_a_conversation_keeps_its_turns_although_the_answer_was_given(
    client: Client, provider: Provider, books: Books
) -> None:
    body, conversation = asked(), f"conv-{secrets.token_hex(4)}"
    await given(client, body)
    again = await given(client, body | {"conversation_id": conversation})

    assert again.headers["x-helix-cache"] == "hit"
    await books.caught_up()
    rows = await books.database.fetch(
        "SELECT role FROM conversation_messages WHERE conversation_id = $1 ORDER BY position", conversation
    )
    assert [row["role"] for row in rows] == ["user", "assistant"]


async def test_a_refresh_asks_anew_and_what_is_forgotten_is_asked_anew(client: Client, provider: Provider) -> None:
    body = asked()
    await given(client, body)
    refreshed = await client.complete(body, x_helix_cache="refresh")
    again = await given(client, body)
    forgotten = await client.send("DELETE", "/v1/cache")
    anew = await given(client, body)

    told = [answer.headers["x-helix-cache"] for answer in (refreshed, again, anew)]
    assert (told, forgotten.json) == (["miss", "hit", "miss"], {"object": "cache", "deleted": True})
    assert len(provider.asked) == 3


async def test_the_field_in_the_body_is_the_same_wish(client: Client, provider: Provider) -> None:
    body = asked(cache={"ttl": 60})
    answers = [await client.complete(body) for _ in range(2)]

    assert [answer.headers["x-helix-cache"] for answer in answers] == ["miss", "hit"]
    assert "cache" not in provider.asked[0].json


async def test_another_account_asks_for_itself(client: Client, stranger: Client, provider: Provider) -> None:
    body = asked()
    await given(client, body)

    assert (await given(stranger, body)).headers["x-helix-cache"] == "miss"
    assert len(provider.asked) == 2


async def test_a_failure_is_not_kept(client: Client, provider: Provider) -> None:
    body = asked()
    refusal = json.dumps({"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}})
    provider.scripts = [
        Script((refusal.encode(),), status=400),
        Script((json.dumps(openai_answer("now")).encode(),)),
    ]

    assert (await client.complete(body, x_helix_cache="on")).status == 400
    assert (await given(client, body)).headers["x-helix-cache"] == "miss"


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ({}, {"x_helix_cache": "perhaps"}),
        ({}, {"x_helix_cache_ttl": "0"}),
        ({"cache": {"ttl": -1}}, {}),
        ({"cache": "on"}, {}),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused(
    client: Client, more: dict[str, Any], headers: dict[str, str]
) -> None:
    refused = await client.complete(asked(**more), **headers)
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")


async def test_an_account_sees_what_it_has_saved(helix: Helix, provider: Provider, books: Books) -> None:
    account = await helix.account()
    async with client_of(helix.base_url, account.key) as client:
        body = asked()
        for _ in range(3):
            await given(client, body)
        await books.caught_up()
        stats = (await client.get("/v1/cache/stats")).json
        odd = await client.get("/v1/cache/stats?days=0")

    assert (stats["requests"], stats["hits"], stats["saved"]["nanousd"]) == (3, 2, 22_000)
    assert (odd.status, odd.error["param"]) == (400, "days")


async def test_a_response_given_again_is_a_response_of_its_own(client: Client, provider: Provider) -> None:
    body = {"model": "near/small", "input": f"what is {secrets.token_hex(8)}?", "store": True}
    first = await given(client, body | {"metadata": {"who": "first"}}, "/v1/responses")
    again = await given(client, body | {"metadata": {"who": "second"}}, "/v1/responses")
    stream = await given(client, body | {"stream": True}, "/v1/responses")

    assert [answer.headers["x-helix-cache"] for answer in (first, again, stream)] == ["miss", "hit", "hit"]
    assert again.json["id"] == again.request.replace("req_", "resp_") != first.json["id"]
    assert again.json["output"] == first.json["output"]
    assert (first.json["metadata"], again.json["metadata"]) == ({"who": "first"}, {"who": "second"})
    found = await client.get(f"/v1/responses/{again.json['id']}")
    assert (found.status, found.json["output"]) == (200, first.json["output"])
    told = chunks(stream.body)
    assert (told[0]["type"], told[-1]["type"]) == ("response.created", "response.completed")
    assert [said["sequence_number"] for said in told] == list(range(len(told)))
    assert told[-1]["response"]["id"] == stream.request.replace("req_", "resp_")
    assert len(provider.asked) == 1


async def test_an_embedding_is_given_again(client: Client) -> None:
    body: dict[str, object] = {"model": "sandbox/embed", "input": f"words {secrets.token_hex(8)}"}
    first = await given(client, body, "/v1/embeddings")
    again = await given(client, body, "/v1/embeddings")

    assert (first.headers["x-helix-cache"], again.headers["x-helix-cache"]) == ("miss", "hit")
    assert again.json == first.json


async def test_an_account_may_ask_for_it_once_and_for_all(helix: Helix, provider: Provider) -> None:
    account = await helix.account()
    async with client_of(helix.base_url, account.key) as client:
        body = asked()
        chosen = await client.send("PUT", "/v1/routing", {"cache_ttl_s": 600})
        answers = [await client.complete(body) for _ in range(2)]
        off = await client.complete(body, x_helix_cache="off")
        changed = await client.send("PUT", "/v1/routing", {"cache_ttl_s": 600, "never": ["far"]})
        after = await client.complete(body)

    assert (chosen.status, changed.status) == (200, 200)
    told = [answer.headers["x-helix-cache"] for answer in (*answers, off, after)]
    assert told == ["miss", "hit", "miss", "miss"]
