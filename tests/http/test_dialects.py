"""What each wire's clients are told around the worker's frames: pings, the end, a break, and where a stream goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from app.http.delivery import Progress, Resumed, Ticket, deliver
from app.http.dialect import Dialect
from app.http.messages import MessagesDialect, as_events
from app.http.response_objects import as_events as as_response_events
from app.http.responses import ResponsesDialect
from app.live.listen import Follower, Heard
from app.log import Log
from app.log.values import Frame
from app.vault import Vault
from events.completions import Outcome
from tests.fakes.road import ACCOUNT, REQUEST, PlainBox, PlainVault
from tests.http.test_delivery import Client, meta

QUESTION = {"model": "gpt", "input": "hello", "metadata": {"a": "b"}}
RESPONSE = {
    "id": REQUEST.replace("req_", "resp_"),
    "object": "response",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    ],
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "brand_new", "deep": 1},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 2, "output_tokens": 3},
}
ERROR = {"error": {"message": "busy", "type": "server_error", "param": None, "code": "x"}}


def said(number: int, *events: int, attempt: int = 1, restarted: bool = False) -> Heard:
    """A frame of numbered events."""
    pieces = b"".join(b'event: e\ndata: {"sequence_number":%d}\n\n' % event for event in events)
    frame = Frame(f"0-{number}", REQUEST, attempt, "d", number, b"", PlainBox().seal("frame", REQUEST, pieces))
    return Heard(frame, restarted=restarted)


def last(outcome: Outcome, status: int, answer: object) -> Heard:
    sealed = PlainBox().seal("answer", REQUEST, json.dumps(answer).encode())
    return Heard(Frame("0-9", REQUEST, 1, "e", 9, meta(outcome, status), sealed), restarted=False)


async def told(*script: Heard | None, dialect: Dialect, resumed: Resumed | None = None) -> list[Any]:
    """The data of every event that the client was sent; a comment is None."""

    async def frames() -> AsyncGenerator[Heard | None, None]:
        for one in script:
            yield one

    client, ear = Client(), Follower(frames())
    ticket = Ticket(ACCOUNT, REQUEST, dialect, True, resumed=resumed)
    # What is heard here needs no log, and the vault has what it is asked.
    log, vault = cast(Log, None), cast(Vault, PlainVault())
    await deliver(ticket, ear, log, vault, client.receive, client.send, Progress())
    await ear.close()
    assert client.status == 200 and b"\nid:" not in client.body and b"retry:" not in client.body
    events = [one.partition(b"data: ")[2] for one in client.body.split(b"\n\n")[:-1]]
    return [json.loads(one) if one else None for one in events]


def numbers(events: list[Any]) -> list[int]:
    return [event["sequence_number"] for event in events]


RESPONSES = ResponsesDialect(QUESTION)


async def test_a_response_is_closed_with_the_next_number_and_the_whole_of_it() -> None:
    events = await told(said(1, 0, 1), None, said(2, 2), last("completed", 200, RESPONSE), dialect=RESPONSES)

    assert numbers([event for event in events if event]) == [0, 1, 2, 3]
    assert (events[-1]["type"], events[-1]["response"]["output"]) == ("response.completed", RESPONSE["output"])


async def test_an_incomplete_response_is_closed_as_what_it_is() -> None:
    end = last("completed", 200, RESPONSE | {"status": "incomplete"})
    assert (await told(said(1, 0), end, dialect=RESPONSES))[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize(
    "end",
    [last("failed", 502, ERROR), last("cancelled", 499, ERROR), said(1, attempt=2, restarted=True)],
    ids=["failed", "cancelled", "begun anew"],
)
async def test_a_response_that_breaks_off_ends_with_a_failure_all_the_same(end: Heard) -> None:
    events = await told(said(1, 0, 1), end, dialect=RESPONSES)

    assert (events[-1]["type"], numbers(events)) == ("response.failed", [0, 1, 2])
    assert events[-1]["response"]["status"] == ("cancelled" if b"cancelled" in end.frame.meta else "failed")


async def test_a_failure_after_nothing_but_pings_is_a_stream_that_every_reader_takes() -> None:
    events = await told(None, last("failed", 429, ERROR), dialect=RESPONSES)

    assert [event["type"] for event in events[1:]] == ["response.created", "response.failed"]
    assert events[-1]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "busy"}


@pytest.mark.parametrize(("had", "expected"), [(0, [0, 1, 2, 3, 4]), (1, [1, 2, 3, 4]), (3, [3, 4]), (4, [4])])
async def test_who_comes_again_hears_what_he_has_not_had(had: int, expected: list[int]) -> None:
    script = (said(1, 0, 1), said(2, 2, 3), last("completed", 200, RESPONSE))
    assert numbers(await told(*script, dialect=RESPONSES, resumed=Resumed(had))) == expected


async def test_who_comes_again_after_a_new_beginning_hears_the_end_alone() -> None:
    script = (said(1, 0, 1, attempt=2), said(2, 2, attempt=2), last("completed", 200, RESPONSE))
    events = await told(*script, dialect=RESPONSES, resumed=Resumed(2, ending_only=True))
    assert [event["type"] for event in events] == ["response.completed"]


async def test_who_follows_from_the_start_is_not_troubled_by_a_beginning_he_never_heard() -> None:
    script = (None, said(1, 0, 1, attempt=2, restarted=True), last("completed", 200, RESPONSE))
    events = await told(*script, dialect=RESPONSES, resumed=Resumed(0))
    assert numbers(events[1:]) == [0, 1, 2]


def test_a_whole_response_is_told_as_a_stream() -> None:
    pieces = as_response_events(RESPONSE).split(b"\n\n")[:-1]
    events = [json.loads(one.partition(b"data: ")[2]) for one in pieces]

    assert numbers(events) == list(range(len(events)))
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == RESPONSE["output"]
    assert [event["delta"] for event in events if event["type"].endswith(".delta")] == ["hm", "Hello", "{}"]


async def test_a_message_is_kept_awake_by_named_pings_and_closed_by_a_stop() -> None:
    events = await told(None, said(1, 0), last("completed", 200, MESSAGE), dialect=MessagesDialect())
    assert [event.get("type") for event in events] == ["ping", None, "message_stop"]


async def test_a_message_that_breaks_off_ends_with_an_error() -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": "no"}}
    assert (await told(said(1, 0), last("failed", 502, error), dialect=MessagesDialect()))[-1] == error
    anew = await told(said(1, 0), said(1, attempt=2, restarted=True), dialect=MessagesDialect())
    assert (anew[-1]["type"], anew[-1]["error"]["type"]) == ("error", "api_error")


def test_a_whole_message_is_told_as_a_stream() -> None:
    pieces = as_events(json.dumps(MESSAGE).encode()).split(b"\n\n")[:-1]
    events = [json.loads(one.partition(b"data: ")[2]) for one in pieces]

    assert events[0]["message"]["content"] == []
    started = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert started == ["thinking", "text", "tool_use", "brand_new"]
    assert [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"] == [
        "thinking_delta",
        "signature_delta",
        "text_delta",
        "input_json_delta",
    ]
    assert (events[-1]["type"], events[-1]["delta"]["stop_reason"]) == ("message_delta", "tool_use")
