"""What the mock provider says in Anthropic's messages and OpenAI's responses: just enough for a proper answer and a proper
end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

_QUESTION_TOKENS: Final = 12

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Wire:
    """(model, text, tokens) → a whole answer; (model, word, how often) → the events of a stream."""

    whole: Callable[[str, str, int], Json]
    events: Callable[[str, str, int], Iterator[str]]


def _event(name: str, fields: Json) -> str:
    return f"event: {name}\ndata: {orjson.dumps({'type': name} | fields).decode()}\n\n"


def _message(model: str, text: str, tokens: int) -> Json:
    return {
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "end_turn" if text else None,
        "stop_sequence": None,
        "usage": {"input_tokens": _QUESTION_TOKENS, "output_tokens": tokens},
    }


def _message_events(model: str, word: str, words: int) -> Iterator[str]:
    yield _event("message_start", {"message": _message(model, "", 1)})
    yield _event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    for _ in range(words):
        yield _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": word}})
    yield _event("content_block_stop", {"index": 0})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event("message_delta", {"delta": delta, "usage": {"output_tokens": words}})
    yield _event("message_stop", {})


def _item(text: str, status: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": "msg_mock",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part] if text else [],
    }


def _response(model: str, text: str, tokens: int) -> Json:
    return {
        "id": "resp_mock",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed" if text else "in_progress",
        "model": model,
        "output": [_item(text, "completed")] if text else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": _QUESTION_TOKENS,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": _QUESTION_TOKENS + tokens,
        },
    }


def _response_events(model: str, word: str, words: int) -> Iterator[str]:
    text = word * words
    place: Json = {"item_id": "msg_mock", "output_index": 0, "content_index": 0}
    events: list[tuple[str, Json]] = [
        ("response.created", {"response": _response(model, "", 0)}),
        ("response.in_progress", {"response": _response(model, "", 0)}),
        ("response.output_item.added", {"output_index": 0, "item": _item("", "in_progress")}),
        ("response.content_part.added", place | {"part": {"type": "output_text", "text": "", "annotations": []}}),
        *[("response.output_text.delta", place | {"delta": word, "logprobs": []})] * words,
        ("response.output_text.done", place | {"text": text, "logprobs": []}),
        ("response.content_part.done", place | {"part": {"type": "output_text", "text": text, "annotations": []}}),
        ("response.output_item.done", {"output_index": 0, "item": _item(text, "completed")}),
        ("response.completed", {"response": _response(model, text, words)}),
    ]
    for number, (name, fields) in enumerate(events):
        yield _event(name, fields | {"sequence_number": number})


WIRES: Final[Mapping[bytes, Wire]] = {
    b"messages": Wire(_message, _message_events),
    b"responses": Wire(_response, _response_events),
}
"""By the last word of their path."""
