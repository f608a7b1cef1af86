"""Providers of the operator's file over the whole road: OpenAI's wire passed through, Anthropic's translated."""

from __future__ import annotations

import json

from tests.fakes.provider import (
    EVENTS,
    Provider,
    Script,
    anthropic_answer,
    anthropic_events,
    openai_answer,
    openai_events,
)
from tests.journeys.books import Books
from tests.journeys.client import Client, chunks, question


async def test_openais_wire_is_passed_on_and_priced(client: Client, books: Books, provider: Provider) -> None:
    provider.scripts[:] = [Script((json.dumps(openai_answer("well said")).encode(),))]
    answer = await client.complete(question("speak", "near/small"))
    assert answer.text == "well said"
    assert (answer.headers["x-helix-provider"], answer.headers["x-helix-attempts"]) == ("near", "1")
    # 7 tokens in at 1 dollar, 2 out at 2 dollars a million.
    assert answer.headers["x-helix-cost-usd"] == "0.000011000"
    assert await books.usage([answer.request]) == {answer.request: 1}
    cost = "SELECT cost_usd::text FROM usage WHERE request_id = $1"
    assert await books.database.fetchval(cost, answer.request) == "0.000011000"


async def test_a_stream_comes_as_the_provider_said_it(client: Client, provider: Provider) -> None:
    provider.scripts[:] = [Script(openai_events(["well ", "said"]), content_type=EVENTS)]
    answer = await client.complete(question("speak", "near/small", stream=True))
    assert answer.text == "well said"
    assert [chunk for chunk in chunks(answer.body) if chunk.get("usage")] == []


async def test_a_provider_that_fails_once_is_asked_again(client: Client, books: Books, provider: Provider) -> None:
    provider.scripts[:] = [Script((b"{}",), status=500), Script((json.dumps(openai_answer("at last")).encode(),))]
    answer = await client.complete(question("speak", "near/small"))
    assert (answer.text, answer.headers["x-helix-attempts"]) == ("at last", "2")
    assert await books.usage([answer.request]) == {answer.request: 1}


async def test_anthropics_answer_comes_in_openais_form(client: Client, books: Books, provider: Provider) -> None:
    said = anthropic_answer({"type": "text", "text": "bonjour"})
    provider.scripts[:] = [Script((json.dumps(said).encode(),))]
    answer = await client.complete(question("speak", "far/claude-far", max_tokens=50))
    assert answer.text == "bonjour"
    assert answer.json["object"] == "chat.completion"
    assert answer.headers["x-helix-provider"] == "far"
    (asked,) = provider.asked
    assert asked.path == "/v1/messages"
    assert (asked.json["model"], asked.json["max_tokens"]) == ("claude-sonnet-4-5", 50)
    assert await books.usage([answer.request]) == {answer.request: 1}


async def test_anthropics_stream_comes_in_openais_form(client: Client, books: Books, provider: Provider) -> None:
    provider.scripts[:] = [
        Script(
            anthropic_events(
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "bon"}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "jour"}},
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {"output_tokens": 4},
                },
                {"type": "message_stop"},
            ),
            content_type=EVENTS,
        )
    ]
    body = question("speak", "far/claude-far", stream=True, stream_options={"include_usage": True})
    answer = await client.complete(body)
    assert answer.text == "bonjour"
    pieces = chunks(answer.body)
    assert {piece["object"] for piece in pieces} == {"chat.completion.chunk"}
    assert [choice["finish_reason"] for piece in pieces for choice in piece["choices"] if choice["finish_reason"]] == [
        "stop"
    ]
    assert [piece["usage"]["completion_tokens"] for piece in pieces if piece.get("usage")] == [4]
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert await books.usage([answer.request]) == {answer.request: 1}


async def test_helixs_own_route_tells_who_answered_and_what_it_cost(client: Client) -> None:
    answer = await client.post("/v1/chat", {"messages": [{"role": "user", "content": "anybody"}], "optimize": "cost"})
    assert answer.status == 200
    assert answer.json["routing"]["provider"] == "sandbox"
    assert answer.json["routing"]["considered"]
    assert answer.json["cost"]["nanousd"] == 0
