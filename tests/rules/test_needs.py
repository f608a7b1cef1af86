"""What a question needs of a model, on each wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events.completions import Wire
from handlers.rules.needs import Needs, needs_of

TOOL = {"type": "function", "function": {"name": "f"}}
PICTURE = "data:image/png;base64," + "A" * 40_000


def needs(wire: Wire, **body: Any) -> Needs:
    return needs_of(wire, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("wire", "body", "capabilities"),
    [
        ("openai", {"tools": [TOOL]}, {"tools"}),
        ("openai", {"functions": [{"name": "f"}]}, {"tools"}),
        ("openai", {"tools": []}, set()),
        ("openai", {"messages": [{"content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]}, {"images"}),
        ("openai", {"messages": [{"content": 'they wrote "image_url" in a text'}]}, set()),
        ("openai", {"response_format": {"type": "json_object"}}, {"json"}),
        ("openai", {"response_format": {"type": "text"}}, set()),
        ("openai", {"reasoning_effort": "low"}, {"reasoning"}),
        ("responses", {"input": "hi", "text": {"format": {"type": "json_schema"}}}, {"json"}),
        ("responses", {"input": [{"content": [{"type": "input_image", "image_url": PICTURE}]}]}, {"images"}),
        ("responses", {"input": "hi", "reasoning": {"effort": "high"}}, {"reasoning"}),
        ("anthropic", {"messages": [{"content": [{"type": "image", "source": {"data": PICTURE}}]}]}, {"images"}),
        (
            "anthropic",
            {"messages": [{"content": [{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]}]},
            {"images"},
        ),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning"}),
        ("anthropic", {"thinking": {"type": "disabled"}, "tools": [{"name": "f"}]}, {"tools"}),
    ],
)
def test_what_it_asks_for_it_needs(wire: Wire, body: dict[str, Any], capabilities: set[str]) -> None:
    assert needs(wire, **body).capabilities == capabilities


@pytest.mark.parametrize(
    ("wire", "tool", "own"),
    [
        ("openai", {"type": "web_search"}, None),
        ("responses", TOOL, None),
        ("responses", {"type": "custom", "name": "f"}, None),
        ("responses", {"type": "web_search"}, "responses"),
        ("anthropic", {"name": "f", "input_schema": {}}, None),
        ("anthropic", {"type": "web_search_20250305", "name": "web_search"}, "anthropic"),
    ],
)
def test_a_tool_that_the_provider_runs_needs_one_that_speaks_the_wire(
    wire: Wire, tool: dict[str, Any], own: Wire | None
) -> None:
    assert needs(wire, tools=[tool]).wire == own


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_clients_limit_bounds_what_is_expected(name: str) -> None:
    assert needs("openai", **{name: 7}).output_tokens == 7
    assert needs("openai", **{name: 7}).output_expected == 7
    assert needs("openai", **{name: 100_000}).output_expected < 1000


def test_a_picture_is_not_counted_as_text() -> None:
    text = {"type": "text", "text": "word " * 4000}
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}

    counted = needs("openai", messages=[{"role": "user", "content": [text, picture]}]).input_tokens

    assert 4900 < counted < 5100


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{"])
def test_what_is_no_object_has_no_needs(body: bytes) -> None:
    with pytest.raises(ValueError):  # JSON's own, or ours
        needs_of("openai", body)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "hi", "tools": "all", "n": "two", "max_tokens": "7", "response_format": "json"},
        {
            "messages": [None, 1, {"content": 1}, {"content": [None, {"type": []}, {"type": "image"}]}],
            "tools": {"a": 1},
            "text": [],
        },
        {"input": [[{"type": "image"}]], "thinking": True, "reasoning": 0},
    ],
)
def test_a_body_of_an_odd_shape_raises_nothing(body: dict[str, Any]) -> None:
    for wire in ("openai", "responses", "anthropic", "embeddings"):
        assert needs(wire, **body).output_tokens is None
