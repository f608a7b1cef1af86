"""Bodies that are JSON and still wrong, and the field that the refusal names."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.http.shapes import MESSAGES_MAX, ChatBody, refuse_invalid

USER: dict[str, object] = {"role": "user", "content": "canary"}


def body(**more: object) -> dict[str, object]:
    return {"model": "m", "messages": [USER], **more}


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({}, "messages", "missing_required_parameter"),
        (body(messages=[]), "messages", "array_below_min_length"),
        (body(messages=[USER] * (MESSAGES_MAX + 1)), "messages", "array_above_max_length"),
        (body(messages="canary"), "messages", "invalid_type"),
        (body(messages=["canary"]), "messages[0]", "invalid_type"),
        (body(messages=[USER, {"content": "canary"}]), "messages[1].role", "missing_required_parameter"),
        (body(messages=[{"role": "canary", "content": ""}]), "messages[0].role", "invalid_value"),
        (body(messages=[{"role": "user"}]), "messages[0].content", "missing_required_parameter"),
        (body(messages=[{"role": "user", "content": None}]), "messages[0].content", "missing_required_parameter"),
        (body(messages=[{"role": "user", "content": 7}]), "messages[0].content", "invalid_type"),
        (body(messages=[{"role": "user", "content": ["canary"]}]), "messages[0].content[0]", "invalid_type"),
        (
            body(messages=[{"role": "user", "content": [{"text": "canary"}]}]),
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (body(model=7), "model", "invalid_type"),
        (body(model=""), "model", "string_below_min_length"),
        (body(stream="yes"), "stream", "invalid_type"),
        (body(temperature="0.5"), "temperature", "invalid_type"),
        (body(temperature=2.1), "temperature", "number_above_max_value"),
        (body(max_tokens=0), "max_tokens", "number_below_min_value"),
        (body(max_tokens=2**63), "max_tokens", "number_above_max_value"),
        (body(n=True), "n", "invalid_type"),
        (body(n=1.5), "n", "invalid_type"),
        (body(stop=[7]), "stop[0]", "invalid_type"),
        (body(tools=[{"type": "function", "function": {}}]), "tools[0].function.name", "missing_required_parameter"),
        (body(metadata={"a": 1}), "metadata.a", "invalid_type"),
        (body(optimize="canary"), "optimize", "invalid_value"),
        (body(conversation_id="../canary"), "conversation_id", "invalid_value"),
    ],
)
def test_a_wrong_body_is_a_400_that_names_the_field_and_repeats_nothing(
    wrong: dict[str, object], param: str, code: str
) -> None:
    with pytest.raises(ValidationError) as invalid:
        ChatBody.model_validate(wrong)
    refused = refuse_invalid(invalid.value)
    assert (refused.status, refused.param, refused.code) == (400, param, code)
    assert "canary" not in refused.message


def test_an_assistant_may_say_nothing_when_it_calls_a_tool() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = ChatBody.model_validate(
        body(
            messages=[
                USER,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "4"}]},
            ]
        )
    )
    assert [message.role for message in asked.messages] == ["user", "assistant", "tool"]


def test_fields_nobody_here_knows_pass() -> None:
    asked = ChatBody.model_validate(body(top_k=4, reasoning={"effort": "low"}, temperature=None, tool_choice="auto"))
    assert asked.model_extra == {"top_k": 4, "reasoning": {"effort": "low"}}
