"""Any wire in, any provider out: what each client hears is what the provider said, in the client's own format."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.conftest import run_apart
from tests.wires.pairs import REQUEST, Pair, every_pair

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_")  # litellm's own use of pydantic

_STREAMED: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return run_apart(every_pair())


def test_every_payload_is_what_openai_s_own_models_say(pairs: list[Pair]) -> None:
    """The newest SDKs' models, Anthropic's among them, say the same in their own environment."""
    for pair in pairs:
        match pair.wire:
            case "openai":
                for whole in (pair.whole, pair.streamed):
                    ChatCompletion.model_validate(whole, strict=True)
                for chunk in pair.events:
                    ChatCompletionChunk.model_validate(chunk, strict=True)
            case "responses":
                for whole in (pair.whole, pair.streamed):
                    Response.model_validate(whole, strict=True)
                for event in pair.events:
                    _STREAMED.validate_python(event, strict=True)
            case "embeddings":
                if pair.case == "float":
                    CreateEmbeddingResponse.model_validate(pair.whole, strict=True)


def _said(pair: Pair, whole: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]], str]:
    """(text, reasoning, calls, why it ended) of an answer in any wire."""
    if pair.wire == "openai":
        choice = whole["choices"][0]
        message = choice["message"]
        calls = [
            (call["function"]["name"], call["function"]["arguments"].replace(" ", ""))
            for call in message.get("tool_calls") or ()
        ]
        text = message.get("content") or message.get("refusal") or ""
        return text, message.get("reasoning_content") or "", calls, choice["finish_reason"]
    if pair.wire == "anthropic":
        blocks = whole["content"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        thought = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
        calls = [
            (block["name"], f'{{"city":"{block["input"]["city"]}"}}') for block in blocks if block["type"] == "tool_use"
        ]
        return text, thought, calls, whole["stop_reason"]
    items = whole["output"]
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    text = "".join(part.get("text") or part.get("refusal") for part in parts)
    thought = "".join(part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"])
    calls = [(item["name"], item["arguments"].replace(" ", "")) for item in items if item["type"] == "function_call"]
    return text, thought, calls, (whole["incomplete_details"] or {}).get("reason") or whole["status"]


_BERN, _OSLO = ("weather", '{"city":"Bern"}'), ("weather", '{"city":"Oslo"}')

EXPECTED: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "text": ("Hello 🌍", "", []),
    "tools": ("", "", [_BERN, _OSLO]),
    "text and tools": ("Let me see.", "", [_BERN]),
    "reasoning": ("Yes", "Hm, yes.", []),
    "refusal": ("I will not.", "", []),
    "length": ("Hello and", "", []),
    "filter": ("Hello", "", []),
    "nothing": ("", "", []),
}

ENDS: dict[str, dict[str, str]] = {
    "openai": {"length": "length", "filter": "content_filter", "tools": "tool_calls", "text and tools": "tool_calls"},
    "anthropic": {
        "length": "max_tokens",
        "filter": "refusal",
        "refusal": "refusal",
        "tools": "tool_use",
        "text and tools": "tool_use",
    },
    "responses": {"length": "max_output_tokens", "filter": "content_filter"},
}
USUAL = {"openai": "stop", "anthropic": "end_turn", "responses": "completed"}


def test_every_client_hears_the_same_answer(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.wire == "embeddings":
            continue
        end = ENDS[pair.wire].get(pair.case, USUAL[pair.wire])
        if pair.case == "refusal" and pair.provider == "anthropic" and pair.wire != "anthropic":
            end = "content_filter"  # Anthropic has one word for both
        assert _said(pair, pair.whole) == (*EXPECTED[pair.case], end), pair
        if not _lost(pair):
            assert _said(pair, pair.streamed) == (*EXPECTED[pair.case], end), pair


def _lost(pair: Pair) -> bool:
    """litellm's own calls drop a streamed refusal (decision 17)."""
    return (pair.provider, pair.case) == ("litellm", "refusal")


def test_a_streamed_and_an_unstreamed_answer_are_one_and_the_same(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.provider == "litellm":
            continue  # whose own calls name the model and count its thoughts in two ways
        if pair.wire in ("responses", "anthropic"):
            assert pair.whole == pair.streamed, pair


def test_events_are_numbered_without_a_gap_and_an_id_is_ours(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.wire == "responses":
            assert [event["sequence_number"] for event in pair.events] == list(range(len(pair.events)))
            ids = {event["response"]["id"] for event in pair.events if "response" in event}
            assert ids == {pair.whole["id"]} == {REQUEST.replace("req_", "resp_")}


def test_the_events_add_up_to_the_whole(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.wire == "responses":
            done = [event["item"] for event in pair.events if event["type"] == "response.output_item.done"]
            assert done == pair.streamed["output"], pair
        if pair.wire == "anthropic" and not _lost(pair):
            told = [event["delta"] for event in pair.events if event["type"] == "content_block_delta"]
            text = "".join(delta.get("text", "") for delta in told)
            assert text == EXPECTED[pair.case][0], pair


def test_the_closing_event_is_left_to_the_door(pairs: list[Pair]) -> None:
    for pair in pairs:
        kinds = {event.get("type") for event in pair.events}
        assert not kinds & {"message_stop", "response.completed", "response.incomplete"}
