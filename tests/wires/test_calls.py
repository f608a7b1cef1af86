"""Tool calls whose pieces come in any order."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.wires import Outward, Unsayable
from app.wires.anthropic_events import Message
from app.wires.calls import Calls
from app.wires.responses_events import Response
from tests.fakes.provider import chunk, openai_answer

REQUEST = "req_" + "0" * 32


def piece(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    call = {"id": f"c{index}", "type": "function"} if name else {}
    return {"index": index, **call, "function": {"arguments": arguments, **({"name": name} if name else {})}}


ORDERS: dict[str, list[dict[str, Any]]] = {
    "one after the other": [piece(0, "", "f"), piece(0, '{"a":'), piece(0, "1}"), piece(1, "", "g"), piece(1, "{}")],
    "in turn": [piece(0, '{"a"', "f"), piece(1, "{", "g"), piece(0, ":1"), piece(1, "}"), piece(0, "}")],
    "whole, each in a piece": [piece(0, '{"a":1}', "f"), piece(1, "{}", "g")],
    "a name that comes late": [piece(0, '{"a":'), piece(0, "1}", "f"), piece(1, "{}", "g")],
    "the first never whole before the second": [piece(0, "", "f"), piece(1, "{}", "g"), piece(0, '{"a":1}')],
}


@pytest.mark.parametrize("pieces", ORDERS.values(), ids=ORDERS.keys())
def test_calls_are_told_one_after_the_other(pieces: list[dict[str, Any]]) -> None:
    calls = Calls()
    told = [said for each in pieces for said in calls.take(each)] + calls.end()
    assert [said.place for said in told] == sorted(said.place for said in told)
    assert [(said.id, said.name) for said in told if said.begins] == [("c0", "f"), ("c1", "g")]
    whole = ["".join(said.arguments for said in told if said.place == place) for place in (0, 1)]
    assert whole == ['{"a":1}', "{}"]


@pytest.mark.parametrize("pieces", ORDERS.values(), ids=ORDERS.keys())
def test_both_wires_tell_them_whole(pieces: list[dict[str, Any]]) -> None:
    answer = openai_answer("")
    answer["choices"][0]["finish_reason"] = "tool_calls"
    outwards: tuple[Outward, ...] = (Message(REQUEST, {}), Response(REQUEST, {}))
    for outward in outwards:
        for each in pieces:
            outward.chunk(chunk({"tool_calls": [each]}))
        outward.close(answer)
        whole = outward.whole()
        calls = [
            (said["name"], said["input"] if "input" in said else orjson.loads(said["arguments"]))
            for said in whole.get("content") or whole["output"]
        ]
        assert calls == [("f", {"a": 1}), ("g", {})]


def test_a_call_without_a_name_cannot_be_told() -> None:
    calls = Calls()
    assert calls.take(piece(0, "{}")) == []
    with pytest.raises(Unsayable):
        calls.end()


def test_arguments_that_are_no_object_cannot_be_a_message_unless_they_were_cut_off() -> None:
    for finish, given in (("length", {}), ("tool_calls", None)):
        message = Message(REQUEST, {})
        message.chunk(chunk({"tool_calls": [piece(0, '{"a', "f")]}))
        answer = openai_answer("")
        answer["choices"][0]["finish_reason"] = finish
        if given is None:
            with pytest.raises(Unsayable):
                message.close(answer)
        else:
            message.close(answer)
            assert message.whole()["content"][0]["input"] == given
