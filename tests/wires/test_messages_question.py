"""A question to `/v1/messages` in the inner form: what it becomes, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from app.wires import Untranslatable, whole_answer
from app.wires.anthropic import inward
from app.wires.anthropic_events import Message
from app.wires.parts import PICTURES_FOLLOW
from tests.fakes.provider import openai_answer

TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}


def asked(**body: Any) -> dict[str, Any]:
    return inward({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **body})


def of(*blocks: Any) -> Any:
    """What a user's message with these blocks becomes."""
    (message,) = inward({"messages": [{"role": "user", "content": list(blocks)}]})["messages"]
    return message["content"]


def test_a_plain_question() -> None:
    assert asked() == {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("system", ["a\n\nb", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]])
def test_the_system_prompt_is_one_message(system: object) -> None:
    assert asked(system=system)["messages"][0] == {"role": "system", "content": "a\n\nb"}


def test_pictures_by_value_and_by_address() -> None:
    value = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    address = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    assert of({"type": "text", "text": "see"}, value, address) == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]


def test_documents_as_far_as_they_can_be_said() -> None:
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
    found = {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}
    assert of(plain) == "T\nwords"
    assert of(found) == "t (s)\nx"
    assert of(pdf, {"type": "text", "text": "?"})[0] == {
        "type": "file",
        "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="},
    }


def test_a_turn_with_tools_thoughts_and_results() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    result = [
        {"type": "text", "text": "r"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ]
    messages = [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": [
                thought,
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "ok"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": result},
                {"type": "tool_result", "tool_use_id": "t2", "content": "bad", "is_error": True},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]
    _, assistant, first, second, pictures, user = asked(messages=messages, tools=[TOOL])["messages"]
    assert assistant == {
        "role": "assistant",
        "content": "ok",
        "reasoning_content": "hm",
        "thinking_blocks": [thought, {"type": "redacted_thinking", "data": "x"}],
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "t2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    }
    assert first == {"role": "tool", "tool_call_id": "t1", "content": f"r\n{PICTURES_FOLLOW}"}
    assert second == {"role": "tool", "tool_call_id": "t2", "content": "The tool failed:\nbad"}
    assert [part["type"] for part in pictures["content"]] == ["text", "image_url"]
    assert user == {"role": "user", "content": "and now?"}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_tools_and_which_to_choose(choice: dict[str, Any], said: dict[str, Any]) -> None:
    inner = asked(tools=[TOOL], tool_choice=choice)
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert inner["tools"] == [{"type": "function", "function": function}]
    assert {name: inner.get(name) for name in said} == said


def test_a_name_too_long_for_others_comes_back_as_it_was() -> None:
    names = ["mcp__" + "x" * 90 + end for end in "ab"]
    tools = [{**TOOL, "name": name} for name in names]
    inner = asked(tools=tools, tool_choice={"type": "tool", "name": names[1]})
    short = [tool["function"]["name"] for tool in inner["tools"]]
    assert all(len(name) == 64 for name in short) and len(set(short)) == 2
    assert inner["tool_choice"]["function"]["name"] == short[1]
    answer = openai_answer("")
    call = {"id": "c", "type": "function", "function": {"name": short[1], "arguments": "{}"}}
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
    whole = whole_answer(Message("req_1", {"tools": tools}), answer)
    assert whole["content"][0]["name"] == names[1]


@pytest.mark.parametrize(
    ("body", "effort"),
    [
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 30_000}}, "high"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, None),
        ({"thinking": {"type": "adaptive"}}, None),
    ],
)
def test_how_hard_to_think(body: dict[str, Any], effort: str | None) -> None:
    assert asked(**body).get("reasoning_effort") == effort


def test_a_schema_is_strict_where_openai_takes_it_so() -> None:
    closed = {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    for schema, strict in ((closed, True), ({**closed, "required": []}, False)):
        inner = asked(output_config={"format": {"type": "json_schema", "schema": schema}})
        assert inner["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": strict}


def test_what_claude_code_sends_is_taken_and_only_its_meaning_goes_on() -> None:
    user = "user_" + "a" * 130
    inner = asked(
        context_management={"edits": []},
        metadata={"user_id": user},
        stop_sequences=["x"],
        top_k=5,
        mcp_servers=[],
        service_tier="auto",
        tools=[TOOL],
        thinking={"type": "adaptive", "display": "omitted"},
    )
    assert set(inner) == {"model", "max_tokens", "messages", "user", "stop", "tools"}
    assert len(inner["user"]) == 64 and inner["user"] == asked(metadata={"user_id": user})["user"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
    ({"container": "c"}, "container"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [TOOL, {"type": "bash_20250124", "name": "bash"}]}, "tools[1].type"),
    ({"tools": [7]}, "tools[0]"),
    ({"messages": 7}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]}, "messages[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        "messages[0]",
    ),
]


@pytest.mark.parametrize(("body", "param"), REFUSED)
def test_what_only_anthropic_can_do_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        asked(**body)
    assert refused.value.param == param
