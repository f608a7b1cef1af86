"""OpenAI's wire to OpenAI's wire: what a provider says, the client gets byte for byte, and Helix has understood it."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.providers.endpoints import Endpoint
from app.providers.transport import Transport
from app.providers.world import AnyWire
from handlers.rules.rating import Usage
from tests.fakes.provider import (
    DONE,
    EVENTS,
    USAGE,
    Script,
    chunk,
    event,
    openai_answer,
    openai_events,
    provider,
    usage_chunk,
)
from tests.providers.asking import Outcome, ask, offer, question

WORDS = ["Hello", " wide", " wörld 🌍"]

CALLS: list[dict[str, Any]] = [
    {"role": "assistant", "content": None},
    {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
    {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Bern"}'}}]},
]


def streamed(*pieces: bytes, **more: Any) -> Script:
    return Script(pieces, content_type=EVENTS, **more)


def answered(said: object, **more: Any) -> Script:
    return Script([orjson.dumps(said)], **more)


async def told(script: Script, *, stream: bool, include_usage: bool = False, **body: Any) -> Outcome:
    async with provider(script) as fake:
        return await ask(fake.base_url, question(stream, include_usage, **body))


async def test_an_answer_passes_byte_for_byte() -> None:
    said = orjson.dumps(openai_answer("hello")).replace(b",", b" ,\n")
    outcome = await told(Script([said[:20], said[20:]]), stream=False)
    assert outcome.heard.answer == said
    assert outcome.heard.usage == Usage(7, 2, cached=3)
    assert outcome.heard.finish_reason == "stop"
    assert orjson.loads(outcome.heard.message or b"")["content"] == "hello"
    ChatCompletion.model_validate(outcome.answer, strict=True)


async def test_a_stream_passes_byte_for_byte_without_its_end() -> None:
    events = openai_events(WORDS)
    outcome = await told(streamed(*events), stream=True, include_usage=True)
    assert outcome.streamed == b"".join(events[:-1])
    assert outcome.heard.text == WORDS
    assert outcome.heard.frames == len(events) - 1
    assert outcome.heard.first_at is not None


async def test_the_usage_chunk_is_kept_back_from_a_client_who_did_not_ask_for_it() -> None:
    outcome = await told(streamed(b"".join(openai_events(WORDS))), stream=True)
    assert all(said["choices"] for said in outcome.chunks)
    assert outcome.heard.usage == Usage(7, 2, cached=3)


async def test_the_whole_answer_of_a_stream_is_a_completion_to_the_official_sdk() -> None:
    outcome = await told(streamed(*openai_events(WORDS)), stream=True, include_usage=True)
    for said in outcome.chunks:
        ChatCompletionChunk.model_validate(said, strict=True)
    whole = ChatCompletion.model_validate(outcome.answer, strict=True)
    assert whole.choices[0].message.content == "".join(WORDS)
    assert whole.usage is not None and whole.usage.total_tokens == 9


async def test_tool_calls_are_put_together_from_their_pieces() -> None:
    events = [event(chunk(delta)) for delta in CALLS] + [event(chunk({}, "tool_calls")), DONE]
    outcome = await told(streamed(*events), stream=True)
    whole = ChatCompletion.model_validate(outcome.answer, strict=True)
    assert outcome.heard.finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None
    calls = outcome.answer["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("c1", "weather", '{"city":"Bern"}'),
        ("c2", "time", "{}"),
    ]


async def test_several_choices_are_kept_apart() -> None:
    said = [("a", 0), ("x", 1), ("b", 0), ("y", 1)]
    events = [event(chunk({"content": text}, index=index)) for text, index in said]
    ends = [event(chunk({}, "stop", 0)), event(chunk({}, "length", 1))]
    outcome = await told(streamed(*events, *ends), stream=True, n=2)
    choices = outcome.answer["choices"]
    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in choices] == [
        ("ab", "stop"),
        ("xy", "length"),
    ]


async def test_reasoning_and_refusals_are_kept() -> None:
    deltas: list[dict[str, Any]] = [{"reasoning_content": "hm"}, {"reasoning_content": "m"}, {"refusal": "no"}]
    events = [event(chunk(delta)) for delta in deltas]
    outcome = await told(streamed(*events, event(chunk({}, "stop")), DONE), stream=True)
    message = outcome.answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["refusal"], message["content"]) == ("hmm", "no", None)


async def test_a_provider_is_asked_under_its_own_name_and_for_the_usage_and_nothing_else_is_changed() -> None:
    async with provider(streamed(*openai_events(WORDS))) as fake:
        await ask(fake.base_url, question(True, unknown_field={"deep": [1]}, stream_options={"other": 1}))
        asked = fake.asked[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer secret"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.json == {
        "model": "upstream-name",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "unknown_field": {"deep": [1]},
        "stream_options": {"other": 1, "include_usage": True},
    }


async def test_comments_ids_and_carriage_returns_do_not_reach_the_client() -> None:
    said, end = event(chunk({"content": "a"})), event(chunk({}, "stop"))
    noisy = [b": ping\n\n", b"id: 7\r\nretry: 1\r\nevent: x\r\n" + said.replace(b"\n", b"\r\n"), end, DONE]
    outcome = await told(streamed(*noisy), stream=True)
    assert outcome.streamed == said + end


async def test_a_stream_may_end_without_done_when_it_has_said_why_it_ends() -> None:
    outcome = await told(streamed(event(chunk({"content": "a"})), event(chunk({}, "stop"))), stream=True)
    assert outcome.answer["choices"][0]["message"]["content"] == "a"


async def test_the_usage_behind_the_finish_reason_is_read() -> None:
    events = [event(chunk({"content": "a"})), event(chunk({}, "stop")), event(usage_chunk())]
    outcome = await told(streamed(*events, pause_s=0.01), stream=True)
    assert outcome.heard.usage == Usage(7, 2, cached=3)


NONSENSE: list[object] = [
    None,
    [],
    "9",
    {},
    {"prompt_tokens": -1, "completion_tokens": 2},
    {"prompt_tokens": 1.5, "completion_tokens": 2},
    {"prompt_tokens": True, "completion_tokens": 2},
    {"prompt_tokens": 2**60, "completion_tokens": 2},
    {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}},
]


@pytest.mark.parametrize("usage", NONSENSE)
async def test_a_usage_that_makes_no_sense_is_none(usage: object) -> None:
    outcome = await told(answered({**openai_answer("a"), "usage": usage}), stream=False)
    assert outcome.failed is None and outcome.heard.usage is None


async def test_reasoning_tokens_that_only_the_total_counts_are_charged() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 17}
    outcome = await told(
        answered({**openai_answer("a"), "usage": usage | {"completion_tokens_details": {"reasoning_tokens": 10}}}),
        stream=False,
    )
    assert outcome.heard.usage == Usage(5, 12)


async def test_nul_characters_become_harmless() -> None:
    events = [event(chunk({"content": "a\x00b"})), event(chunk({}, "stop")), DONE]
    for outcome in (
        await told(streamed(*events), stream=True),
        await told(answered(openai_answer("a\x00b")), stream=False),
    ):
        assert outcome.answer["choices"][0]["message"]["content"] == "a\ufffdb"
        assert b"\\u0000" not in outcome.streamed
        assert outcome.heard.text == ["a\ufffdb"]


async def test_being_cancelled_closes_the_connection() -> None:
    async with provider(streamed(event(chunk({"content": "a"})), ending="silent")) as fake:
        spoken = asyncio.Event()
        outcome = Outcome()
        outcome.heard.frame = lambda frames: spoken.set()
        transport = Transport()
        wire = AnyWire(Endpoint("fake", "openai", fake.base_url), transport)
        task = asyncio.ensure_future(wire.ask(offer(), question(True), outcome.heard, deadline_s=10))
        await spoken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(fake.left.wait(), 5)
        await transport.close()


async def test_connections_are_used_again() -> None:
    async with provider(streamed(*openai_events(WORDS)), answered(openai_answer("a"))) as fake:
        transport = Transport()
        wire = AnyWire(Endpoint("fake", "openai", fake.base_url), transport)
        for stream in (True, False, False):
            await ask(fake.base_url, question(stream), adapter=wire)
        await transport.close()
        assert fake.connections == 1


async def test_a_pooled_connection_that_was_closed_meanwhile_is_replaced_once() -> None:
    async with provider(answered(openai_answer("a")), Script(speaks=False), answered(openai_answer("b"))) as fake:
        transport = Transport()
        wire = AnyWire(Endpoint("fake", "openai", fake.base_url), transport)
        await ask(fake.base_url, question(False), adapter=wire)
        outcome = await ask(fake.base_url, question(False), adapter=wire)
        await transport.close()
        assert outcome.heard.text == ["b"]
        assert fake.connections == 2


async def test_an_endless_event_does_not_grow_memory() -> None:
    piece = b"x" * 65_536
    async with provider(streamed(b"data: ", *([piece] * 320))) as fake:
        tracemalloc.start()
        outcome = await ask(fake.base_url, question(True))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert outcome.kind == "garbled"
    assert peak < 20 * 2**20


async def test_an_endless_answer_does_not_grow_memory() -> None:
    outcome = await told(Script([b'{"x": "', *([b"x" * 2**20] * 20)]), stream=False)
    assert outcome.kind == "garbled"


async def test_usage_of_the_sdk_shape_is_kept_whole_in_the_answer() -> None:
    outcome = await told(streamed(*openai_events(WORDS)), stream=True)
    assert outcome.answer["usage"] == USAGE
