"""What a model says stays within its frame, whatever it says (A17): no word of it is an event or an end of the stream."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.journeys.client import Client

SAYINGS: Final = [
    "\n\ndata: [DONE]\n\n",
    "a\r\n\r\ndata: {}\r\n\r\nevent: error\r\nid: 9\r\nretry: 1",
    "\revent: response.completed\rdata: x\r\r",
    "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029 data: y",
    ': ping\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n',
    '"}]}\n\n{"choices": [',
    "\ufeffdata: z\n\n\ufeff",
]
SAID: Final = "begin " + " middle ".join(SAYINGS) + " end"
ASKED: Final = [{"role": "user", "content": SAID}]


def events(stream: bytes, *more: str) -> list[tuple[str, str]]:
    """A stream as its standard says it is read → event, data. Fails at a field that none of our streams has."""
    found: list[tuple[str, str]] = []
    name = ""
    data: list[str] = []
    for line in re.split("\r\n|\n|\r", stream.decode()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((name, "\n".join(data)))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        else:
            assert field in ("", "id", *more), line
    return found


def chat(told: list[tuple[str, str]]) -> str:
    assert [data for _, data in told].index("[DONE]") == len(told) - 1
    chunks: list[Any] = [json.loads(data) for _, data in told[:-1]]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def messages(told: list[tuple[str, str]]) -> str:
    assert [name for name, _ in told].index("message_stop") == len(told) - 1
    parsed: list[Any] = [json.loads(data) for _, data in told]
    return "".join(each["delta"].get("text", "") for each in parsed if each["type"] == "content_block_delta")


def responses(told: list[tuple[str, str]]) -> str:
    assert [name for name, _ in told].index("response.completed") == len(told) - 1
    parsed: list[Any] = [json.loads(data) for _, data in told]
    return "".join(each["delta"] for each in parsed if each["type"] == "response.output_text.delta")


ROADS: Final[dict[str, tuple[dict[str, object], Callable[[list[tuple[str, str]]], str]]]] = {
    "/v1/chat/completions": ({"messages": ASKED}, chat),
    "/v1/messages": ({"messages": ASKED, "max_tokens": 500}, messages),
    "/v1/responses": ({"input": ASKED}, responses),
}


@pytest.mark.parametrize("path", ROADS)
async def test_what_a_model_says_is_read_back_as_it_said_it(client: Client, path: str) -> None:
    body, heard = ROADS[path]
    answer = await client.post(path, {"model": "sandbox/echo", "stream": True, **body})
    assert answer.status == 200, answer.body
    assert heard(events(answer.body)) == SAID


async def test_the_events_of_a_request_hold_what_was_said_too(client: Client) -> None:
    request = await client.submit({"model": "sandbox/echo", "stream": True, "messages": ASKED})
    await client.end_of(request)
    told = events((await client.get(f"/v1/requests/{request}/events")).body, "retry")
    assert [name for name, _ in told].index("completed") == len(told) - 1
    assert chat([*told[:-1], ("", "[DONE]")]) == SAID
