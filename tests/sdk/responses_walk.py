"""A walk through the OpenAI SDK's responses against Helix: streams, background, resume, cancel, chains, tools.

One rule, as in `openai_walk`: every payload is also validated strictly against the SDK's own models.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import openai
from openai import OpenAI
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from openai.types.responses import FunctionToolParam

client = OpenAI(base_url=os.environ["HELIX_BASE_URL"], api_key=os.environ["HELIX_KEY"], max_retries=0)

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

TOOL: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a place.",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
        "additionalProperties": False,
    },
    "strict": True,
}


def ended(id: str) -> Response:
    for _ in range(200):
        response = client.responses.retrieve(id)
        if response.status not in ("queued", "in_progress"):
            return response
        time.sleep(0.05)
    raise AssertionError("it does not end")


def valid_events(**asked: object) -> list[Any]:
    """The events of a stream, each line of it validated strictly."""
    with client.responses.with_streaming_response.create(stream=True, **asked) as answer:  # type: ignore[call-overload]  # the caller's words, as they are
        lines = [line for line in answer.iter_lines() if line]
    assert not [line for line in lines if line.startswith(("id:", "retry:"))]
    events = [
        EVENT.validate_json(line.removeprefix("data: "), strict=True) for line in lines if line.startswith("data: ")
    ]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names == [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def check_a_response() -> dict[str, object]:
    raw = client.responses.with_raw_response.create(model="sandbox/echo", input="hello there", metadata={"a": "b"})
    Response.model_validate_json(raw.text, strict=True)
    response = raw.parse()
    assert (response.output_text, response.status, response.metadata) == ("hello there", "completed", {"a": "b"})
    assert response.usage and response.usage.total_tokens == 4
    again = client.responses.with_raw_response.retrieve(response.id)
    Response.model_validate_json(again.text, strict=True)
    assert again.parse().to_dict() == response.to_dict()
    return {"request": raw.headers["x-request-id"]}


def check_a_streamed_response() -> None:
    events = valid_events(model="sandbox/echo", input="one two three")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text == "one two three"
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


def check_the_stream_helper_of_responses() -> None:
    with client.responses.stream(model="sandbox/echo", input="by the helper") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert said == stream.get_final_response().output_text == "by the helper"


class Answer(BaseModel):
    """What `parse` reads a structured answer into."""

    city: str
    rain: bool


def check_a_structured_response() -> None:
    parsed = client.responses.parse(model="sandbox/echo", input='{"city": "Oslo", "rain": true}', text_format=Answer)
    assert parsed.output_parsed == Answer(city="Oslo", rain=True)


def check_a_response_in_the_background() -> None:
    raw = client.responses.with_raw_response.create(
        model="sandbox/faulty", input="[delay_ms=300] in its own time", background=True
    )
    begun = Response.model_validate_json(raw.text, strict=True)
    assert begun.status in ("queued", "in_progress") and begun.background is True and begun.output == []
    assert ended(begun.id).output_text == "in its own time"


def check_a_background_stream_is_resumed_where_it_was_left() -> None:
    words = "one two three four five six"
    stream = client.responses.create(
        model="sandbox/faulty", input=f"[chunk_delay_ms=60] {words}", background=True, stream=True
    )
    had, id, last = "", "", -1
    for event in stream:
        last = event.sequence_number
        if event.type == "response.created":
            id = event.response.id
        if event.type == "response.output_text.delta":
            had += event.delta
            if had.startswith("one two"):
                break
    stream.close()
    rest = client.responses.retrieve(id, stream=True, starting_after=last)
    for event in rest:
        assert event.sequence_number == last + 1
        last = event.sequence_number
        EVENT.validate_python(event.to_dict(), strict=True)
        had += event.delta if event.type == "response.output_text.delta" else ""
    assert event.type == "response.completed"
    assert had == event.response.output_text == words


def check_a_response_is_cancelled() -> None:
    begun = client.responses.create(model="sandbox/faulty", input="[delay_ms=20000] never", background=True)
    cancelled = client.responses.with_raw_response.cancel(begun.id)
    assert Response.model_validate_json(cancelled.text, strict=True).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"


def check_a_response_goes_on_from_another() -> None:
    first = client.responses.create(model="sandbox/echo", input="a first")
    second = client.responses.create(model="sandbox/echo", input="a second", previous_response_id=first.id)
    assert second.previous_response_id == first.id and first.usage and second.usage
    assert second.usage.input_tokens > first.usage.input_tokens
    items = client.responses.input_items.list(second.id)
    assert [item.to_dict()["content"] for item in items] == [[{"type": "input_text", "text": "a second"}]]


def check_the_items_of_an_input_are_what_the_sdk_knows() -> None:
    said: Any = [
        {"role": "user", "content": "a text"},
        {"role": "assistant", "content": "an answer"},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain"},
        {"role": "user", "content": [{"type": "input_text", "text": "and now?"}]},
    ]
    response = client.responses.create(model="sandbox/echo", input=said)
    raw = client.responses.input_items.with_raw_response.list(response.id, order="asc", limit=10)
    listed = ResponseItemList.model_validate_json(raw.text, strict=True)
    assert [item.type for item in listed.data] == [
        "message",
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]


def check_a_tool_is_called_in_a_response_and_its_output_answered() -> None:
    first = client.responses.create(model="sandbox/tools", input="the weather in Oslo?", tools=[TOOL])
    (call,) = first.output
    assert call.type == "function_call" and call.name == "weather"
    assert set(json.loads(call.arguments)) == {"place"}
    second = client.responses.create(
        model="sandbox/tools",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}],
        tools=[TOOL],
    )
    assert second.output_text == "rain"


def check_a_streamed_tool_call_of_a_response() -> None:
    events = valid_events(model="sandbox/tools", input="the weather?", tools=[TOOL])
    said = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert set(json.loads(said)) == {"place"}
    (done,) = [event.item for event in events if event.type == "response.output_item.done"]
    assert done.arguments == said and done.call_id == events[-1].response.output[0].call_id


def check_a_deleted_response_is_not_found() -> None:
    response = client.responses.create(model="sandbox/echo", input="gone")
    client.responses.delete(response.id)
    for ask in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        try:
            ask(response.id)
        except openai.NotFoundError as raised:
            assert raised.message and raised.request_id
        else:
            raise AssertionError("NotFoundError was not raised")


def check_an_unknown_response_is_no_beginning() -> None:
    try:
        client.responses.create(model="sandbox/echo", input="x", previous_response_id="resp_nobody")
    except openai.BadRequestError as raised:
        assert (raised.code, raised.param) == ("previous_response_not_found", "previous_response_id")
    else:
        raise AssertionError("BadRequestError was not raised")


def check_a_response_that_is_cut_short_is_incomplete() -> None:
    raw = client.responses.with_raw_response.create(model="sandbox/lorem", input="on and on", max_output_tokens=3)
    response = Response.model_validate_json(raw.text, strict=True)
    assert response.status == "incomplete" and response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert valid_events(model="sandbox/lorem", input="on", max_output_tokens=3)[-1].type == "response.incomplete"


def check_a_stream_of_a_response_that_breaks_off_says_so() -> None:
    events = valid_events(model="sandbox/faulty", input="[error_after=2] one two three")
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")


def check_a_kept_response_can_be_streamed_again() -> None:
    response = client.responses.create(model="sandbox/echo", input="once more")
    events = list(client.responses.retrieve(response.id, stream=True))
    for event in events:
        EVENT.validate_python(event.to_dict(), strict=True)
    assert events[-1].type == "response.completed" and events[-1].response.output_text == "once more"
