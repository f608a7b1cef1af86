"""Providers that litellm itself calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from handlers.rules.rating import Usage
from tests.fakes.provider import EVENTS, Script, openai_answer, openai_events, provider
from tests.providers.asking import Outcome, ask, question

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_")  # litellm's own use of pydantic

UPSTREAM = "openai/some-model"
WORDS = ["Hello", " world"]


async def told(script: Script, stream: bool, include_usage: bool = False) -> Outcome:
    async with provider(script) as fake:
        return await ask(fake.base_url, question(stream, include_usage), wire="litellm", upstream=UPSTREAM)


async def test_an_answer_comes_back() -> None:
    outcome = await told(Script([json.dumps(openai_answer("hello")).encode()]), False)
    ChatCompletion.model_validate(outcome.answer)
    assert (outcome.heard.text, outcome.heard.usage) == (["hello"], Usage(7, 2, cached=3))


async def test_a_stream_comes_back() -> None:
    outcome = await told(Script(openai_events(WORDS), content_type=EVENTS), True, include_usage=True)
    assert outcome.failed is None, outcome.failed.message
    for chunk in outcome.chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert outcome.answer["choices"][0]["message"]["content"] == "Hello world"
    assert outcome.heard.usage is not None and outcome.heard.usage.output == 2
    assert outcome.chunks[-1]["choices"] == []


async def test_the_usage_chunk_is_kept_back_from_a_client_who_did_not_ask_for_it() -> None:
    outcome = await told(Script(openai_events(WORDS), content_type=EVENTS), True)
    assert all(chunk["choices"] and not chunk.get("usage") for chunk in outcome.chunks)


async def test_only_known_parameters_pass_from_a_client_s_body() -> None:
    async with provider(Script([json.dumps(openai_answer("hello")).encode()])) as fake:
        evil: dict[str, Any] = {
            "api_base": "http://127.0.0.1:1",
            "base_url": "http://127.0.0.1:1",
            "api_key": "theirs",
            "mock_response": "x",
        }
        body = question(False, temperature=0.5, extra_headers={"x-evil": "1"}, extra_body={"evil": 1}, **evil)
        await ask(fake.base_url, body, wire="litellm", upstream=UPSTREAM)
        asked = fake.asked[0]
    assert asked.headers["authorization"] == "Bearer secret"
    assert "x-evil" not in asked.headers
    assert asked.json["temperature"] == 0.5
    assert set(asked.json) <= {"model", "messages", "temperature"}


@pytest.mark.parametrize(
    ("kind", "status"),
    [("rate_limited", 429), ("auth", 401), ("not_found", 404), ("server_error", 500), ("bad_request", 400)],
)
async def test_a_refusal_is_the_failure_it_stands_for_and_is_not_tried_again(kind: str, status: int) -> None:
    async with provider(Script([b'{"error": {"message": "no"}}'], status)) as fake:
        outcome = await ask(fake.base_url, question(False), wire="litellm", upstream=UPSTREAM)
        assert (outcome.kind, len(fake.asked)) == (kind, 1)


async def test_the_whole_has_a_deadline() -> None:
    async with provider(Script(delay_s=60)) as fake:
        outcome = await ask(fake.base_url, question(True), wire="litellm", upstream=UPSTREAM, deadline_s=0.5)
    assert outcome.kind == "timeout"
