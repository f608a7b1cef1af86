"""Tokens counted here: an estimate that never fails."""

from __future__ import annotations

import orjson
import pytest

from app.providers.counting import COUNTED_CHARACTERS_MAX, MESSAGE_TOKENS, count, text_tokens
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


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "<|endoftext|>", "", "🌍" * 10])
def test_odd_text_is_counted_too(text: str) -> None:
    assert text_tokens(text) >= 0


def test_a_long_text_is_reckoned_from_its_beginning() -> None:
    assert text_tokens("a " * COUNTED_CHARACTERS_MAX) == pytest.approx(COUNTED_CHARACTERS_MAX, rel=0.01)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"messages": 7}', b'{"messages": [7, {"content": 7}]}'])
def test_odd_questions_are_counted_too(body: bytes) -> None:
    assert count(Question("openai", body, False, False), "x").output == 1
