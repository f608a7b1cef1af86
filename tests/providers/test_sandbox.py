"""The sandbox provider, asked through the same road as any other."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.providers.sandbox import MODELS, sandbox
from app.providers.sandbox_tools import least_value
from app.providers.world import World
from app.settings import Settings
from handlers.ports import ProviderFailed
from handlers.rules.rating import Usage
from tests.providers.asking import Outcome, question

PROMPT = "  Hello  wide\n\twörld 🌍\n"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(sandbox(), log_config=None, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://x",
            "redis_url": "redis://x",
            "api_key_encryption_key": "x",
            "helix_sandbox_url": f"http://127.0.0.1:{port}",
        }
    )
    world = World(settings)
    await world.warm()
    yield world
    await world.close()
    server.should_exit = True
    await serving
    listening.close()


async def ask(
    world: World, model: str, text: str, *, stream: bool = False, deadline_s: float = 10, **body: Any
) -> Outcome:
    outcome = Outcome()
    (offer,) = world.catalogue.find(f"sandbox/{model}")
    asked = question(stream, True, **{"messages": [{"role": "user", "content": text}], **body})
    try:
        await world.ask(offer, asked, outcome.heard, deadline_s=deadline_s)
    except ProviderFailed as failed:
        outcome.failed = failed
    if outcome.failed is None:
        ChatCompletion.model_validate(outcome.answer, strict=True)
        for chunk in outcome.chunks:
            ChatCompletionChunk.model_validate(chunk, strict=True)
    return outcome


def content(outcome: Outcome) -> Any:
    return outcome.answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_repeats_the_last_user_message_word_for_word(world: World, stream: bool) -> None:
    outcome = await ask(world, "echo", PROMPT, stream=stream)
    assert content(outcome) == PROMPT
    assert outcome.heard.usage == Usage(4, 4)


async def test_streamed_echo_says_each_word_in_a_chunk_of_its_own(world: World) -> None:
    outcome = await ask(world, "echo", "one two three", stream=True)
    assert outcome.heard.text == ["one", " two", " three"]


async def test_the_same_question_has_the_same_answer(world: World) -> None:
    first, second = [await ask(world, "echo", PROMPT, stream=True) for _ in range(2)]
    assert first.streamed == second.streamed


@pytest.mark.parametrize("stream", [False, True])
async def test_lorem_writes_as_many_words_as_asked_for(world: World, stream: bool) -> None:
    limited = await ask(world, "lorem", "x", stream=stream, max_tokens=5)
    assert content(limited) == "lorem ipsum dolor sit amet"
    assert limited.heard.finish_reason == "length"
    assert len(content(await ask(world, "lorem", "x", stream=stream)).split()) == 64


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "note": {"type": "string"},
            },
            "required": ["city", "unit"],
        },
    },
}


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_calls_the_first_tool_with_arguments_that_fit(world: World, stream: bool) -> None:
    outcome = await ask(world, "tools", "x", stream=stream, tools=[TOOL])
    (call,) = outcome.answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "x", "unit": "celsius"}
    assert (outcome.heard.finish_reason, content(outcome)) == ("tool_calls", None)


async def test_tools_answers_with_the_tool_s_result(world: World) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ]
    assert content(await ask(world, "tools", "", tools=[TOOL], messages=messages)) == "sunny"


@pytest.mark.parametrize(
    ("directive", "stream", "kind"),
    [
        ("[status=500]", False, "server_error"),
        ("[status=503]", True, "overloaded"),
        ("[status=400 code=context_length_exceeded]", False, "context_overflow"),
        ("[garbage]", False, "garbled"),
        ("[garbage]", True, "garbled"),
        ("[cut_after=2]", False, "cut"),
        ("[cut_after=2]", True, "cut"),
        ("[error_after=2]", True, "server_error"),
    ],
)
async def test_faulty_fails_as_it_is_told(world: World, directive: str, stream: bool, kind: str) -> None:
    outcome = await ask(world, "faulty", f"{directive} one two three", stream=stream)
    assert outcome.kind == kind
    if "after=2" in directive and stream:
        assert outcome.heard.text == ["one", " two"]


async def test_faulty_says_when_to_come_again(world: World) -> None:
    outcome = await ask(world, "faulty", "[status=429 retry_after=1] x")
    assert outcome.failed is not None
    assert (outcome.failed.kind, outcome.failed.retry_after_s) == ("rate_limited", 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_faulty_falls_silent(world: World, stream: bool) -> None:
    outcome = await ask(world, "faulty", "[silence_after=2] one two three", stream=stream, deadline_s=0.5)
    assert outcome.kind == "timeout"
    assert outcome.heard.text == (["one", " two"] if stream else [])


async def test_faulty_fails_so_many_times_and_then_answers(world: World) -> None:
    kinds = [(await ask(world, "faulty", "[fail_times=2 status=503] x")).kind for _ in range(4)]
    assert kinds == ["overloaded", "overloaded", None, "overloaded"]


async def test_faulty_may_leave_the_usage_out(world: World) -> None:
    outcome = await ask(world, "faulty", "[no_usage] one two", stream=True)
    assert (outcome.heard.usage, content(outcome)) == (None, "one two")


async def test_faulty_may_be_slow(world: World) -> None:
    outcome = await ask(world, "faulty", "[delay_ms=10] [chunk_delay_ms=20] one two three", stream=True)
    assert content(outcome) == "one two three"
    assert len(outcome.frames) >= 3


async def test_a_bracket_that_is_no_directive_is_ordinary_text(world: World) -> None:
    assert (
        content(await ask(world, "faulty", "[note] [status=nan] [delay_ms=inf] x"))
        == "[note] [status=nan] [delay_ms=inf] x"
    )


async def test_several_choices_can_be_asked_for(world: World) -> None:
    outcome = await ask(world, "echo", "one", stream=True, n=2)
    assert [choice["message"]["content"] for choice in outcome.answer["choices"]] == ["one", "one"]


async def test_the_models_are_listed() -> None:
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox()), base_url="http://sandbox") as client:
        listed = (await client.get("/v1/models")).json()
        assert [Model.model_validate(model, strict=True).id for model in listed["data"]] == [*MODELS, "embed"]
        for body, status in (
            ("{", 400),
            ("{}", 400),
            ('{"messages":[{}],"model":"x"}', 404),
            ('{"messages":[7]}', 400),
        ):
            refused = await client.post("/v1/chat/completions", content=body)
            assert refused.status_code == status
            assert refused.json()["error"]["message"]


SCHEMAS: list[tuple[dict[str, Any], object]] = [
    ({}, None),
    ({"type": "string", "minLength": 3}, "xxx"),
    ({"type": "integer", "minimum": 5}, 5),
    ({"type": "number", "exclusiveMinimum": 2}, 3),
    ({"type": "integer", "maximum": -4}, -4),
    ({"type": ["boolean", "null"]}, True),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
    ({"const": 7}, 7),
    ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
    ({"allOf": [{"type": "object"}, {"required": ["a"], "properties": {"a": {"default": 1}}}]}, {"a": 1}),
    ({"$ref": "#/$defs/P", "$defs": {"P": {"enum": ["z"]}}}, "z"),
]


@pytest.mark.parametrize(("schema", "value"), SCHEMAS)
def test_the_least_value_satisfies_its_schema(schema: dict[str, Any], value: object) -> None:
    assert least_value(schema) == value


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert least_value(schema) is not None
