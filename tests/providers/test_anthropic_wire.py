"""OpenAI's wire to Anthropic's: translated there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from handlers.ports import Question
from handlers.rules.rating import Usage
from tests.fakes.provider import EVENTS, Script, anthropic_answer, anthropic_events, event, provider
from tests.providers.asking import Outcome, ask, question

MODEL = "claude-sonnet-4-5"

TEXT = {"type": "text", "text": "Hello world"}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Bern"}}

TOOL = {
    "type": "function",
    "function": {
        "name": "get/weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
END = [b'event: message_stop\ndata: {"type":"message_stop"}\n\n']


def said(*deltas: dict[str, Any], start: dict[str, Any] | None = None, index: int = 0) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start or {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def words(*texts: str) -> list[dict[str, Any]]:
    return said(*({"type": "text_delta", "text": text} for text in texts))


async def told(script: Script, asked: Question) -> tuple[Outcome, Any]:
    """What came of it, and what the provider was asked."""
    async with provider(script) as fake:
        outcome = await ask(fake.base_url, asked, wire="anthropic", upstream=MODEL)
        return outcome, fake.asked[0] if fake.asked else None


async def test_a_question_is_put_in_anthropic_s_format() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
                {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
            ],
        },
    ]
    _, asked = await told(
        Script([json.dumps(anthropic_answer(TEXT)).encode()]),
        question(
            False, messages=messages, max_tokens=50, stop=["x"], temperature=0.5, seed=7, extra_headers={"a": "b"}
        ),
    )
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "secret"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert "a" not in asked.headers
    assert asked.json == {
        "model": MODEL,
        "max_tokens": 50,
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
                ],
            }
        ],
    }


async def test_an_answer_comes_back_as_a_completion() -> None:
    outcome, _ = await told(Script([json.dumps(anthropic_answer(TEXT)).encode()]), question(False))
    whole = ChatCompletion.model_validate(outcome.answer, strict=True)
    assert whole.choices[0].message.content == "Hello world"
    assert outcome.heard.usage == Usage(10, 4, cached=3, cache_write=2)
    assert outcome.heard.finish_reason == "stop"
    assert outcome.heard.text == ["Hello world"]


async def test_a_stream_comes_back_as_chunks() -> None:
    script = Script([*anthropic_events(*words("Hel", "lo 🌍"), STOP), *END], content_type=EVENTS)
    outcome, asked = await told(script, question(True, include_usage=True))
    assert asked.json["stream"] is True
    for chunk in outcome.chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    whole = ChatCompletion.model_validate(outcome.answer, strict=True)
    assert whole.choices[0].message.content == "Hello 🌍"
    assert outcome.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert outcome.chunks[-1]["choices"] == [] and outcome.chunks[-1]["usage"]["total_tokens"] == 14
    assert outcome.chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert outcome.heard.usage == Usage(10, 4, cached=3, cache_write=2)


async def test_the_usage_chunk_is_kept_back_from_a_client_who_did_not_ask_for_it() -> None:
    script = Script([*anthropic_events(*words("Hello"), STOP), *END], content_type=EVENTS)
    outcome, _ = await told(script, question(True))
    assert all(chunk["choices"] for chunk in outcome.chunks)
    assert outcome.heard.usage is not None


async def test_tools_and_their_results_are_translated_and_a_changed_name_comes_back_as_it_was() -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get/weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    answer = anthropic_answer(TOOL_USE, stop_reason="tool_use")
    outcome, asked = await told(
        Script([json.dumps(answer).encode()]),
        question(False, messages=messages, tools=[TOOL], tool_choice="required"),
    )
    assert asked.json["tools"][0]["name"] == "get_weather"
    assert asked.json["tool_choice"] == {"type": "any"}
    assert asked.json["messages"][1]["content"][0]["type"] == "tool_use"
    assert asked.json["messages"][2]["content"][0] == {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}
    ChatCompletion.model_validate(outcome.answer, strict=True)
    call = outcome.answer["choices"][0]["message"]["tool_calls"][0]
    assert (call["id"], call["function"]["name"]) == ("toolu_1", "get/weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Bern"}
    assert outcome.heard.finish_reason == "tool_calls"


async def test_a_streamed_tool_call_is_put_together() -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"city"', ': "Bern"}')]
    stop = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}}
    events = anthropic_events(*words("Let me see."), *said(*pieces, start=start, index=1), stop)
    outcome, _ = await told(Script([*events, *END], content_type=EVENTS), question(True, tools=[TOOL]))
    for chunk in outcome.chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    message = outcome.answer["choices"][0]["message"]
    assert message["content"] == "Let me see."
    assert message["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "get/weather", "arguments": '{"city": "Bern"}'}}
    ]
    assert outcome.heard.finish_reason == "tool_calls"


async def test_a_json_answer_comes_back_as_text() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    asked_for = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    text = {"type": "text", "text": '{"x": 1}'}
    outcome, asked = await told(
        Script([json.dumps(anthropic_answer(text)).encode()]), question(False, response_format=asked_for)
    )
    assert "output_format" in asked.json or "output_config" in asked.json or "tools" in asked.json
    assert json.loads(outcome.answer["choices"][0]["message"]["content"]) == {"x": 1}


async def test_thinking_comes_back_as_reasoning() -> None:
    thought = said(
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "mm"},
        {"type": "signature_delta", "signature": "sig"},
        start={"type": "thinking", "thinking": "", "signature": ""},
    )
    events = anthropic_events(*thought, *words("Yes"), STOP)
    outcome, asked = await told(
        Script([*events, *END], content_type=EVENTS), question(True, reasoning_effort="low", max_tokens=4_000)
    )
    assert asked.json["thinking"]["type"] == "enabled"
    message = outcome.answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hmm", "Yes")
    assert message["thinking_blocks"] == [{"type": "thinking", "thinking": "hmm", "signature": "sig"}]


@pytest.mark.parametrize("thoughts", [None, [{"type": "thinking", "thinking": "hm", "signature": "s"}]])
async def test_it_thinks_between_tool_calls_only_where_the_thoughts_before_them_are_there(thoughts: object) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get/weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call], "thinking_blocks": thoughts},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    asked_for = question(False, messages=messages, tools=[TOOL], reasoning_effort="low", max_tokens=4_000)
    _, asked = await told(Script([json.dumps(anthropic_answer(TEXT)).encode()]), asked_for)
    assert ("thinking" in asked.json) is (thoughts is not None)


FAILURES = [
    ("overloaded", 529, "overloaded_error"),
    ("rate_limited", 429, "rate_limit_error"),
    ("auth", 401, "authentication_error"),
    ("bad_request", 400, "invalid_request_error"),
    ("not_found", 404, "not_found_error"),
    ("server_error", 500, "api_error"),
]


@pytest.mark.parametrize(("kind", "status", "type"), FAILURES)
async def test_a_refusal_is_the_failure_it_stands_for(kind: str, status: int, type: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": type, "message": "no"}}).encode()
    outcome, _ = await told(Script([body], status), question(False))
    assert outcome.failed is not None
    assert (outcome.failed.kind, outcome.failed.status, outcome.failed.message) == (kind, status, "no")


async def test_an_error_inside_a_stream_is_a_failure() -> None:
    error = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    outcome, _ = await told(Script([*anthropic_events(*words("a")), error], content_type=EVENTS), question(True))
    assert (outcome.kind, outcome.heard.text) == ("overloaded", ["a"])


async def test_a_stream_without_its_stop_is_cut() -> None:
    outcome, _ = await told(Script(anthropic_events(*words("a"), STOP), content_type=EVENTS), question(True))
    assert (outcome.kind, outcome.heard.answer) == ("cut", None)


ODD_STREAMS = [b"data: {\n\n", b"data: []\n\n", b"data: {}\n\n", b'data: {"type":"content_block_delta"}\n\n']


@pytest.mark.parametrize("odd", ODD_STREAMS)
async def test_an_odd_stream_is_garbled(odd: bytes) -> None:
    outcome, _ = await told(Script([*anthropic_events(), odd, *END], content_type=EVENTS), question(True))
    assert outcome.kind == "garbled"


@pytest.mark.parametrize("odd", [b"{", b"[]", b"{}", b'{"content": 7}', b'{"type":"message","content":[{}]}'])
async def test_an_odd_answer_is_garbled(odd: bytes) -> None:
    outcome, _ = await told(Script([odd]), question(False))
    assert outcome.kind == "garbled"


ODD_QUESTIONS: list[dict[str, Any]] = [
    {"messages": 7},
    {"messages": [{"role": "wizard", "content": "x"}]},
    {"tools": [{"type": "function"}]},
    {"n": 2},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "https://127.0.0.1:1/x"}}]}]},
]


@pytest.mark.parametrize("body", ODD_QUESTIONS)
async def test_a_question_that_cannot_be_translated_is_refused_and_nobody_is_asked(body: dict[str, Any]) -> None:
    outcome, asked = await told(Script([b"{}"]), question(False, **body))
    assert (outcome.kind, asked) == ("unsayable", None)
