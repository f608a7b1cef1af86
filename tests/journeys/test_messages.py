"""Anthropic's messages through a whole Helix: to providers of both families, in either version, with Anthropic's errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.provider import EVENTS, JSON, Provider, Script, anthropic_answer, openai_answer, openai_events
from tests.journeys.books import Books
from tests.journeys.client import Client, chunks, client_of
from tests.journeys.running import Helix

OLD, NEW = "2023-06-01", "2026-10-21"


def ask(said: object, model: str = "sandbox/echo", **more: object) -> dict[str, object]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": said}], **more}


def text(message: Any) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def deltas(stream: bytes) -> str:
    found = [event["delta"] for event in chunks(stream) if event["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in found if delta["type"] == "text_delta")


def scripted(provider: Provider, *pieces: bytes, stream: bool = False, status: int = 200) -> None:
    provider.scripts[:] = [Script(pieces, status=status, content_type=EVENTS if stream else JSON)]


async def test_a_message_is_answered_by_a_provider_of_the_other_family(
    client: Client, books: Books, provider: Provider
) -> None:
    scripted(provider, json.dumps(openai_answer("from afar")).encode())
    answer = await client.post("/v1/messages?beta=true", ask("hello", "near/small", system="Be brief."))
    assert answer.status == 200, answer.body
    assert (answer.json["type"], text(answer.json), answer.json["stop_reason"]) == ("message", "from afar", "end_turn")
    assert answer.headers["request-id"] == answer.request
    assert answer.headers["x-helix-provider"] == "near"
    assert await books.usage([answer.request]) == {answer.request: 1}


async def test_a_stream_has_named_events_and_no_done(client: Client, provider: Provider) -> None:
    scripted(provider, *openai_events(["one ", "two"]), stream=True)
    answer = await client.post("/v1/messages", ask("hello", "near/small", stream=True))
    events = chunks(answer.body)
    assert deltas(answer.body) == "one two"
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    assert answer.body.count(b"event: ") == len(events) and b"[DONE]" not in answer.body


async def test_anthropics_own_words_pass_untouched(client: Client, provider: Provider) -> None:
    told = anthropic_answer({"type": "text", "text": "hello"}, {"type": "brand_new", "deep": {"x": 1}})
    scripted(provider, json.dumps(told).encode())
    body = ask("hi", "far/claude-far", context_management={"edits": []}, thinking={"type": "adaptive"})
    answer = await client.post("/v1/messages", body, anthropic_version=NEW, anthropic_beta="one-2026,two-2026")
    assert answer.status == 200, answer.body
    assert answer.json["content"] == told["content"]
    asked = provider.asked[-1]
    assert (asked.headers["anthropic-version"], asked.headers["anthropic-beta"]) == (NEW, "one-2026,two-2026")
    assert asked.json == body | {"model": "claude-sonnet-4-5", "stream": False}


async def test_an_older_client_without_a_version_is_taken_for_the_first(client: Client, provider: Provider) -> None:
    scripted(provider, json.dumps(anthropic_answer({"type": "text", "text": "hello"})).encode())
    answer = await client.post("/v1/messages", ask("hi", "far/claude-far", temperature=0.5))
    assert text(answer.json) == "hello"
    assert provider.asked[-1].headers["anthropic-version"] == OLD


DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
OUTDATED: dict[str, dict[str, object]] = {
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "top_k": {"top_k": 5},
    "a document in an assistant's message": {
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [DOCUMENT]}]
    },
    "citations in a user's text": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{"type": "char"}]}]}]
    },
}


@pytest.mark.parametrize("name", OUTDATED)
async def test_the_newer_version_takes_less(client: Client, name: str) -> None:
    body = ask("hello") | OUTDATED[name]
    refused = await client.post("/v1/messages", body, anthropic_version=NEW)
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    if name.startswith("t"):
        assert (await client.post("/v1/messages", body, anthropic_version=OLD)).status == 200


async def test_refusals_wear_anthropics_shape(client: Client, provider: Provider) -> None:
    scripted(provider, json.dumps({"error": {"message": "busy"}}).encode(), status=503)
    refusals = {
        (401, "authentication_error"): client.post("/v1/messages", ask("x"), authorization="Bearer hx_user_no"),
        (404, "not_found_error"): client.post("/v1/messages", ask("x", "nobody")),
        (400, "invalid_request_error"): client.post("/v1/messages", b"{"),
        (405, "invalid_request_error"): client.get("/v1/messages"),
        (413, "request_too_large"): client.post("/v1/messages", b"x" * 17_000_000),
        (529, "overloaded_error"): client.post("/v1/messages", ask("x", "near/small")),
    }
    for (status, kind), asking in refusals.items():
        refused = await asking
        assert (refused.status, refused.json["type"], refused.error["type"]) == (status, "error", kind), refused.body
        assert refused.json["request_id"] == refused.headers["request-id"] == refused.request
    assert (await client.send("HEAD", "/api/hello")).status == 404


async def test_either_header_opens_the_door(helix: Helix) -> None:
    async with client_of(helix.base_url, None) as nobody:
        answer = await nobody.post("/v1/messages", ask("hello"), x_api_key=helix.facts["api_key"])
        assert (answer.status, text(answer.json)) == (200, "hello")
        assert (await nobody.post("/v1/messages", ask("hello"))).status == 401


async def test_tokens_are_counted_and_nothing_is_asked(client: Client, books: Books) -> None:
    before = await books.lengths()
    counted = await client.post("/v1/messages/count_tokens", {**ask("hello there " * 100), "tools": []})
    assert counted.status == 200 and 150 < counted.json["input_tokens"] < 400
    assert (await client.post("/v1/messages/count_tokens", {"model": "sandbox/echo"})).status == 400
    assert await books.lengths() == before


async def test_a_message_is_a_request_like_any_other(client: Client, books: Books) -> None:
    promised = await client.post("/v1/messages", ask("later"), prefer="respond-async")
    assert promised.status == 202
    assert text((await client.end_of(promised.json["id"]))["response"]) == "later"
    key = {"idempotency_key": "a-key-for-messages"}
    first, second = [await client.post("/v1/messages", ask("once"), **key) for _ in range(2)]
    assert (first.request, first.json) == (second.request, second.json)
    assert await books.usage([first.request]) == {first.request: 1}


async def test_the_picker_of_claude_code_finds_every_model(client: Client) -> None:
    listed = (await client.get("/v1/models?limit=1000", anthropic_version=OLD)).json["data"]
    assert listed and all(model["id"].startswith(("claude", "anthropic")) for model in listed)
    assert all(model["type"] == "model" and model["kind"] == "chat" for model in listed)
    answer = await client.post("/v1/messages", ask("hello", "anthropic/sandbox/echo"))
    assert text(answer.json) == "hello"
    first = (await client.get("/v1/models?limit=2", anthropic_version=OLD)).json
    second = (await client.get(f"/v1/models?limit=2&after_id={first['last_id']}", anthropic_version=OLD)).json
    assert [model["id"] for model in first["data"] + second["data"]] == [model["id"] for model in listed[:4]]
    refused = await client.get("/v1/models/nobody", anthropic_version=OLD)
    assert (refused.status, refused.error["type"]) == (404, "not_found_error")
