"""A question to `/v1/responses` in the inner form: what it becomes, and what is refused by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.wires import Untranslatable, whole_answer
from app.wires.responses import inward
from app.wires.responses_events import Response
from tests.fakes.provider import openai_answer

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edit",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}
SPACE = {"type": "namespace", "name": "mcp", "description": "d", "tools": [{"type": "function", "name": "g"}]}


def asked(**body: Any) -> dict[str, Any]:
    return inward({"model": "m", "input": "hi", **body})


def test_a_plain_question() -> None:
    assert asked() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_settings_have_their_names_in_the_inner_form() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    inner = asked(
        max_output_tokens=9,
        temperature=0.5,
        reasoning={"effort": "xhigh", "summary": "auto"},
        text={"format": schema, "verbosity": "low"},
        safety_identifier="u",
        store=False,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        client_metadata={"a": "b"},
        truncation="auto",
        metadata={"a": "b"},
    )
    assert inner == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "reasoning_effort": "high",
        "user": "u",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
    }


def test_what_codex_sends() -> None:
    picture = "data:image/png;base64,aGk="
    inner = asked(
        instructions="Be good.",
        input=[
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "And brief."}]},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": picture}],
            },
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "ok", "annotations": []}],
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** x"},
            {"type": "function_call", "call_id": "c3", "namespace": "mcp", "name": "g", "arguments": "{}"},
            {"type": "web_search_call", "id": "w", "status": "completed"},
            {"type": "function_call_output", "call_id": "c1", "output": "r1"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
            {
                "type": "function_call_output",
                "call_id": "c3",
                "output": [{"type": "input_text", "text": "r3"}, {"type": "input_image", "image_url": picture}],
            },
        ],
        tools=[FUNCTION, {"type": "web_search"}, SPACE, PATCH, {"type": "local_shell"}],
        tool_choice="auto",
        parallel_tool_calls=False,
    )
    system, user, assistant, *results = inner["messages"]
    assert system == {"role": "system", "content": "Be good.\n\nAnd brief."}
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    assert (assistant["content"], assistant["reasoning_content"]) == ("ok", "hm")
    calls = [(call["id"], call["function"]) for call in assistant["tool_calls"]]
    assert calls == [
        ("c1", {"name": "f", "arguments": "{}"}),
        ("c2", {"name": "apply_patch", "arguments": '{"input":"*** x"}'}),
        ("c3", {"name": "mcp__g", "arguments": "{}"}),
    ]
    assert [(said["role"], said.get("tool_call_id")) for said in results] == [
        ("tool", "c1"),
        ("tool", "c2"),
        ("tool", "c3"),
        ("user", None),
    ]
    assert [tool["function"]["name"] for tool in inner["tools"]] == ["f", "mcp__g", "apply_patch"]
    assert inner["parallel_tool_calls"] is False
    assert "start: x" in inner["tools"][2]["function"]["description"]


def test_calls_come_back_as_the_kind_of_tool_they_were() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "mcp__g", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "apply_patch", "arguments": '{"input": "*** x"}'}},
    ]
    answer = openai_answer("")
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": calls}
    body = {"input": "hi", "tools": [SPACE, PATCH]}
    whole = whole_answer(Response("req_" + "0" * 32, body), answer)
    first, second = whole["output"]
    assert (first["type"], first["namespace"], first["name"], first["call_id"]) == ("function_call", "mcp", "g", "c1")
    assert (second["type"], second["name"], second["input"]) == ("custom_tool_call", "apply_patch", "*** x")


def test_thinking_that_was_signed_comes_back_as_it_went_out() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    answer = openai_answer("Yes")
    answer["choices"][0]["message"] |= {"reasoning_content": "hm", "thinking_blocks": [block]}
    whole = whole_answer(Response("req_" + "0" * 32, {"input": "hi"}), answer)
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    inner = asked(input=[whole["output"][0], call])
    assert inner["messages"][0]["thinking_blocks"] == [block]
    stranger = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
    assert "thinking_blocks" not in asked(input=[stranger, call])["messages"][0]


@pytest.mark.parametrize(
    ("choice", "names", "said"),
    [
        ("required", ["f", "mcp__g"], "required"),
        ({"type": "function", "name": "f"}, ["f", "mcp__g"], {"type": "function", "function": {"name": "f"}}),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            ["f"],
            "required",
        ),
    ],
)
def test_which_tool_to_choose(choice: object, names: list[str], said: object) -> None:
    inner = asked(tools=[FUNCTION, SPACE], tool_choice=choice)
    assert [tool["function"]["name"] for tool in inner["tools"]] == names
    assert inner["tool_choice"] == said


def test_a_question_whose_every_tool_is_hosted_has_none() -> None:
    assert not {"tools", "tool_choice"} & set(asked(tools=[{"type": "web_search"}], tool_choice="auto"))


def test_names_that_are_too_long_stay_apart() -> None:
    tools = [{"type": "function", "name": "x" * 70 + end} for end in "ab"]
    inner = asked(tools=[{"type": "namespace", "name": "n", "tools": tools}])
    names = {tool["function"]["name"] for tool in inner["tools"]}
    assert len(names) == 2 and all(len(name) <= 64 for name in names)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": [7]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    ({"input": [{"type": "computer_call_output", "output": {}}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"conversation": "c"}, "conversation"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
]


@pytest.mark.parametrize(("body", "param"), REFUSED)
def test_what_only_openai_can_do_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        asked(**body)
    assert refused.value.param == param


def test_the_question_s_settings_stand_in_the_response() -> None:
    body = {"input": "hi", "metadata": {"a": "b"}, "temperature": 0.2, "text": {"verbosity": "low"}, "store": False}
    whole = whole_answer(Response("req_" + "0" * 32, body), openai_answer("x"))
    assert (whole["metadata"], whole["temperature"], whole["store"]) == ({"a": "b"}, 0.2, False)
    assert whole["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert orjson.dumps(whole)
