"""Tokens counted here: an estimate that never fails."""

from __future__ import annotations

import orjson
import pytest

from app.providers.counting import COUNTED_CHARACTERS_MAX, MESSAGE_TOKENS, anthropic_tokens, count, text_tokens
from events.completions import Wire
from handlers.ports import Question


def question(body: object) -> Question:
    return Question("openai", orjson.dumps(body), False, False)


def test_text_is_counted_as_openai_s_newer_models_do() -> None:
    assert text_tokens("hello world") == 2


def test_question_and_answer_are_counted_and_marked_as_an_estimate() -> None:
    usage = count(question({"messages": [{"role": "user", "content": "hello world"}]}), "hello world")
    assert (usage.input, usage.output, usage.source) == (MESSAGE_TOKENS + 2, 2, "estimated")


def test_text_parts_and_tools_count() -> None:
    parts = [{"type": "text", "text": "hello world"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    plain = count(question({"messages": [{"role": "user", "content": parts}]}), "")
    tools = count(question({"messages": [{"role": "user", "content": parts}], "tools": [{"name": "x"}]}), "")
    assert plain.input == MESSAGE_TOKENS + 2
    assert tools.input > plain.input


SAID: list[tuple[Wire, dict[str, object], int]] = [
    ("anthropic", {"system": "hello", "messages": [{"role": "user", "content": "world"}]}, MESSAGE_TOKENS + 3),
    (
        "anthropic",
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"text": "hello world"}]}]}]},
        MESSAGE_TOKENS + 2,
    ),
    ("responses", {"input": "hello world"}, 2),
    ("responses", {"instructions": "hello", "input": [{"role": "user", "content": "world"}]}, MESSAGE_TOKENS + 3),
    ("responses", {"input": [{"type": "function_call_output", "output": "hello world"}]}, MESSAGE_TOKENS + 2),
    ("embeddings", {"input": "hello world"}, 2),
    ("embeddings", {"input": ["hello world", "hello"]}, 3),
    ("embeddings", {"input": [[1, 2, 3], [4]]}, 4),
]


@pytest.mark.parametrize(("wire", "body", "tokens"), SAID)
def test_a_question_of_any_wire_is_counted(wire: Wire, body: dict[str, object], tokens: int) -> None:
    assert count(Question(wire, orjson.dumps(body), False, False), "").input == tokens


def test_what_a_message_would_cost_is_counted_before_it_is_sent() -> None:
    body = {"messages": [{"role": "user", "content": "hello world"}], "tools": [{"name": "x"}]}
    assert MESSAGE_TOKENS + 2 < anthropic_tokens(orjson.dumps(body)) < 30


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "<|endoftext|>", "", "🌍" * 10])
def test_odd_text_is_counted_too(text: str) -> None:
    assert text_tokens(text) >= 0


def test_a_long_text_is_reckoned_from_its_beginning() -> None:
    assert text_tokens("a " * COUNTED_CHARACTERS_MAX) == pytest.approx(COUNTED_CHARACTERS_MAX, rel=0.01)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"messages": 7}', b'{"messages": [7, {"content": 7}]}'])
def test_odd_questions_are_counted_too(body: bytes) -> None:
    assert count(Question("openai", body, False, False), "x").output == 1
