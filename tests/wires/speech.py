"""What providers say: each kind of answer in each provider's own format, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.fakes.provider import (
    DONE,
    USAGE,
    anthropic_answer,
    anthropic_events,
    chunk,
    event,
    openai_answer,
    usage_chunk,
)

Json = dict[str, Any]

CALL: Final[Json] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}
CALL_2: Final[Json] = {**CALL, "id": "call_2", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}

CASES: Final = ("text", "tools", "text and tools", "reasoning", "refusal", "length", "filter", "nothing")

_SAID: Final[Mapping[str, tuple[Json, str]]] = {
    "text": ({"content": "Hello 🌍"}, "stop"),
    "tools": ({"content": None, "tool_calls": [CALL, CALL_2]}, "tool_calls"),
    "text and tools": ({"content": "Let me see.", "tool_calls": [CALL]}, "tool_calls"),
    "reasoning": ({"reasoning_content": "Hm, yes.", "content": "Yes"}, "stop"),
    "refusal": ({"content": None, "refusal": "I will not."}, "stop"),
    "length": ({"content": "Hello and"}, "length"),
    "filter": ({"content": "Hello"}, "content_filter"),
    "nothing": ({"content": ""}, "stop"),
}
"""Case → (the message, the finish reason), as OpenAI has them."""

_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def whole(spoken: str, case: str) -> Json:
    """An unstreamed answer."""
    message, finish = _SAID[case]
    if spoken == "anthropic":
        return anthropic_answer(*_blocks(message), stop_reason=_stop(message, finish))
    if spoken == "responses":
        return _response(message, finish)
    answer = openai_answer("")
    answer["choices"][0]["message"] |= message
    answer["choices"][0]["finish_reason"] = finish
    return answer


def stream(spoken: str, case: str) -> list[bytes]:
    """A streamed answer to its proper end, an event a piece."""
    message, finish = _SAID[case]
    if spoken == "anthropic":
        usage = {"output_tokens": 4}
        stop = {"type": "message_delta", "delta": {"stop_reason": _stop(message, finish), "stop_sequence": None}}
        blocks = [said for index, block in enumerate(_blocks(message)) for said in _told(index, block)]
        return [*anthropic_events(*blocks, {**stop, "usage": usage}, {"type": "message_stop"})]
    if spoken == "responses":
        return response_events(message, finish)
    deltas = [{"role": "assistant", "content": ""}, *_deltas(message)]
    return [*(event(chunk(delta)) for delta in deltas), event(chunk({}, finish)), event(usage_chunk()), DONE]


def embeddings() -> bytes:
    """Two vectors as floats."""
    data = [{"object": "embedding", "index": index, "embedding": [0.25, -0.5, float(index)]} for index in (0, 1)]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    return json.dumps({"object": "list", "data": data, "model": "some-model", "usage": usage}).encode()


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


def _deltas(message: Json) -> list[Json]:
    deltas: list[Json] = []
    for name in ("reasoning_content", "content", "refusal"):
        if text := message.get(name):
            deltas += [{name: piece} for piece in _halves(text)]
    for index, call in enumerate(message.get("tool_calls") or ()):
        first = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        for piece in _halves(call["function"]["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _stop(message: Json, finish: str) -> str:
    return "refusal" if message.get("refusal") else _STOPS[finish]


def _blocks(message: Json) -> list[Json]:
    blocks: list[Json] = []
    if thought := message.get("reasoning_content"):
        blocks.append({"type": "thinking", "thinking": thought, "signature": "c2lnbmVk"})
    if text := message.get("content") or message.get("refusal"):
        blocks.append({"type": "text", "text": text})
    for call in message.get("tool_calls") or ():
        given = json.loads(call["function"]["arguments"])
        blocks.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": given})
    return blocks


def _told(index: int, block: Json) -> list[Json]:
    """One block as Anthropic streams it."""
    match block["type"]:
        case "thinking":
            begun: Json = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _halves(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "text":
            begun = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in _halves(block["text"])]
        case _:
            begun = {**block, "input": {}}
            pieces = _halves(json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _items(message: Json) -> list[Json]:
    items: list[Json] = []
    if thought := message.get("reasoning_content"):
        items.append({"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": thought}]})
    part: Json | None = None
    if text := message.get("content"):
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    elif refusal := message.get("refusal"):
        part = {"type": "refusal", "refusal": refusal}
    if part:
        items.append({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]})
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = {**call["function"], "call_id": call["id"], "status": "completed"}
        items.append({"id": f"fc_{place}", "type": "function_call", **function})
    return items


def _response(message: Json, finish: str, status: str | None = None) -> Json:
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    usage = {
        "input_tokens": USAGE["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": USAGE["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": USAGE["total_tokens"],
    }
    return {
        "id": "resp_theirs",
        "object": "response",
        "created_at": 1,
        "status": status or ("incomplete" if why else "completed"),
        "error": None,
        "incomplete_details": {"reason": why} if why and not status else None,
        "model": "some-model",
        "output": [] if status else _items(message),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        "usage": None if status else usage,
    }


def response_events(message: Json, finish: str, closing: bool = True) -> list[bytes]:
    """A streamed response, told as OpenAI does."""
    begun = _response(message, finish, "in_progress")
    events: list[Json] = [{"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")]
    for index, item in enumerate(_items(message)):
        events += _told_item(index, item)
    if closing:
        ended = _response(message, finish)
        events.append({"type": f"response.{ended['status']}", "response": ended})
    return numbered(events)


def numbered(events: Sequence[Json]) -> list[bytes]:
    return [
        b"event: " + said["type"].encode() + b"\n" + event({**said, "sequence_number": number})
        for number, said in enumerate(events)
    ]


def _told_item(index: int, item: Json) -> list[Json]:
    place = {"item_id": item["id"], "output_index": index}
    empty: dict[str, Json] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
    }
    added = {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty[item["type"]]}}
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    between: list[Json] = []
    if item["type"] == "message":
        (part,) = item["content"]
        kind, text = (part["type"], part.get("text") or part.get("refusal"))
        at = {**place, "content_index": 0}
        more: Json = {"logprobs": []} if kind == "output_text" else {}
        field = "text" if kind == "output_text" else "refusal"
        between = [
            {"type": "response.content_part.added", **at, "part": {**part, field: ""}},
            *({"type": f"response.{kind}.delta", **at, **more, "delta": piece} for piece in _halves(text)),
            {"type": f"response.{kind}.done", **at, **more, field: text},
            {"type": "response.content_part.done", **at, "part": part},
        ]
    elif item["type"] == "reasoning":
        (part,) = item["summary"]
        at = {**place, "summary_index": 0}
        kind = "response.reasoning_summary_text"
        between = [
            {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}},
            *({"type": f"{kind}.delta", **at, "delta": piece} for piece in _halves(part["text"])),
            {"type": f"{kind}.done", **at, "text": part["text"]},
            {"type": "response.reasoning_summary_part.done", **at, "part": part},
        ]
    else:
        kind, arguments = "response.function_call_arguments", item["arguments"]
        between = [
            *({"type": f"{kind}.delta", **place, "delta": piece} for piece in _halves(arguments)),
            {"type": f"{kind}.done", **place, "name": item["name"], "arguments": arguments},
        ]
    return [added, *between, done]
