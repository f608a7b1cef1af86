"""A walk through the Anthropic SDK against Helix: messages, streams, tools, token counts, models, errors.

One rule: every payload is also validated strictly against the SDK's own models, which by themselves take anything.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anthropic  # type: ignore[import-not-found]  # it lives in an environment of its own
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent  # type: ignore[import-not-found]  # it lives in an environment of its own
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from anthropic.types import MessageParam, ToolParam

BASE_URL = os.environ["HELIX_BASE_URL"].removesuffix("/v1")
KEY = os.environ["HELIX_KEY"]
LIMITED_KEY = os.environ["HELIX_LIMITED_KEY"]
"""May ask once a minute."""
SCOPED_KEY = os.environ["HELIX_SCOPED_KEY"]
"""May do something else than chat."""

client = Anthropic(base_url=BASE_URL, api_key=KEY, max_retries=0)

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

TOOL: ToolParam = {
    "name": "weather",
    "description": "The weather of a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


def user(content: str) -> list[MessageParam]:
    return [{"role": "user", "content": content}]


def silence() -> str:
    with client.messages.stream(
        model="sandbox/faulty", max_tokens=100, messages=user("[delay_ms=16000] at last")
    ) as stream:
        return str(stream.get_final_message().content[0].text)


SILENCE = ThreadPoolExecutor(1).submit(silence)
"""Long enough for a ping; it runs beside everything else."""


def text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def asks(words: str, model: str = "sandbox/echo", **more: Any) -> Callable[[], object]:
    return lambda: client.messages.create(model=model, max_tokens=100, messages=user(words), **more)


def raises(kind: type[anthropic.APIStatusError], status: int, type_: str, ask: Callable[[], object]) -> None:
    """It must raise exactly this class, with everything an application looks at."""
    try:
        ask()
    except anthropic.APIStatusError as raised:
        assert type(raised) is kind, raised
        assert raised.status_code == status, raised
        body: Any = raised.body
        assert body["error"]["type"] == type_ and body["error"]["message"], body
        assert (raised.request_id or "").startswith("req_")
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def valid_events(**asked: object) -> list[Any]:
    """The events of a stream, each of them validated strictly."""
    create = client.messages.with_streaming_response.create
    with create(stream=True, max_tokens=100, **asked) as answer:
        lines = [line for line in answer.iter_lines() if line]
    events = [
        EVENT.validate_json(line.removeprefix("data: "), strict=True)
        for line in lines
        if line.startswith("data: ") and '"type": "ping"' not in line
    ]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ") and line != "event: ping"]
    assert names == [event.type for event in events]
    return events


def check_a_message() -> dict[str, object]:
    raw = client.messages.with_raw_response.create(
        model="sandbox/echo", max_tokens=100, messages=user("hello there"), system="Be brief."
    )
    answer = raw.http_response.text
    Message.model_validate_json(answer, strict=True)
    message = raw.parse()
    assert (text(message), message.stop_reason, message.role) == ("hello there", "end_turn", "assistant")
    assert message.usage.output_tokens == 2
    assert message._request_id and message._request_id == raw.headers["x-request-id"]
    return {"request": message._request_id}


def check_a_streamed_message() -> None:
    words = "one two three four"
    events = valid_events(model="sandbox/echo", messages=user(words))
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == words and len(deltas) > 1
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    stream = client.messages.create(model="sandbox/echo", max_tokens=100, messages=user(words), stream=True)
    assert "".join(event.delta.text for event in stream if event.type == "content_block_delta") == words


def check_the_stream_helper_of_messages() -> None:
    with client.messages.stream(model="sandbox/echo", max_tokens=100, messages=user("by the helper")) as stream:
        assert "".join(stream.text_stream) == "by the helper"
        final = stream.get_final_message()
    assert (text(final), final.stop_reason) == ("by the helper", "end_turn")
    assert final.usage.output_tokens == 3


def check_a_tool_is_used_and_its_result_answered() -> None:
    asked = user("what is the weather in Oslo?")
    first = client.messages.create(model="sandbox/tools", max_tokens=100, messages=asked, tools=[TOOL])
    Message.model_validate(first.to_dict(), strict=True)
    assert first.stop_reason == "tool_use"
    (use,) = [block for block in first.content if block.type == "tool_use"]
    assert use.name == "weather" and isinstance(use.input, dict) and set(use.input) == {"place"}
    again: list[MessageParam] = [
        *asked,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}]},
    ]
    second = client.messages.create(model="sandbox/tools", max_tokens=100, messages=again, tools=[TOOL])
    assert text(second) == "rain"


def check_a_streamed_tool_use() -> None:
    events = valid_events(model="sandbox/tools", messages=user("the weather?"), tools=[TOOL])
    said = "".join(event.delta.partial_json for event in events if event.type == "content_block_delta")
    assert set(json.loads(said)) == {"place"}
    with client.messages.stream(
        model="sandbox/tools", max_tokens=100, messages=user("the weather?"), tools=[TOOL]
    ) as stream:
        (use,) = stream.get_final_message().content
    assert use.type == "tool_use" and isinstance(use.input, dict) and set(use.input) == {"place"}


def check_tokens_are_counted() -> None:
    few = client.messages.count_tokens(model="sandbox/echo", messages=user("hello"))
    many = client.messages.count_tokens(model="sandbox/echo", messages=user("hello " * 100), tools=[TOOL])
    assert 0 < few.input_tokens < 20 < 100 < many.input_tokens < 300


def check_models_of_anthropics_list() -> None:
    listed = list(client.models.list(limit=2))
    assert len(listed) > 2  # page after page
    for model in listed:
        ModelInfo.model_validate(model.to_dict(), strict=False)  # times come as text
    assert "anthropic/sandbox/echo" in [model.id for model in listed]
    assert client.models.retrieve("anthropic/sandbox/echo").id == "anthropic/sandbox/echo"
    raises(anthropic.NotFoundError, 404, "not_found_error", lambda: client.models.retrieve("nobody"))


def check_the_beta_client() -> None:
    message = client.beta.messages.create(
        model="sandbox/echo", max_tokens=100, messages=[{"role": "user", "content": "beta"}], betas=["brand-new-2026"]
    )
    assert text(message) == "beta"


def check_images_and_unknown_fields_pass() -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    message = client.messages.create(
        model="sandbox/echo",
        max_tokens=100,
        messages=[{"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]}],
        extra_body={"brand_new": {"deep": 1}},
    )
    assert text(message) == "what is this?"


def check_every_refusal_is_its_own_class() -> None:
    wrong, other = client.with_options(api_key="hx_user_wrong"), client.with_options(api_key=SCOPED_KEY)
    raises(anthropic.AuthenticationError, 401, "authentication_error", lambda: wrong.models.list())
    raises(
        anthropic.PermissionDeniedError,
        403,
        "permission_error",
        lambda: other.messages.create(model="sandbox/echo", max_tokens=1, messages=user("x")),
    )
    raises(anthropic.BadRequestError, 400, "invalid_request_error", asks("x", extra_body={"messages": []}))
    raises(anthropic.NotFoundError, 404, "not_found_error", asks("x", "claude-nobody"))
    too_large = getattr(anthropic, "RequestTooLargeError", None) or anthropic._exceptions.RequestTooLargeError
    raises(too_large, 413, "request_too_large", asks("x" * 17_000_000))
    raises(anthropic.InternalServerError, 502, "api_error", asks("[status=500] no", "sandbox/faulty"))
    overloaded = getattr(anthropic, "OverloadedError", None) or anthropic._exceptions.OverloadedError
    raises(overloaded, 529, "overloaded_error", asks("[status=503] no", "sandbox/faulty"))


def check_too_many_messages_are_a_rate_limit_error() -> None:
    limited = client.with_options(api_key=LIMITED_KEY)

    def ask() -> object:
        return limited.messages.create(model="sandbox/echo", max_tokens=10, messages=user("one"))

    ask()
    try:
        ask()
    except anthropic.RateLimitError as raised:
        assert 0 < float(raised.response.headers["retry-after"]) <= 60
    else:
        raise AssertionError("RateLimitError was not raised")


def check_a_stream_of_a_message_that_breaks_off_raises_in_the_loop() -> None:
    had = ""
    try:
        stream = client.messages.create(
            model="sandbox/faulty", max_tokens=100, messages=user("[error_after=2] one two three"), stream=True
        )
        for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                had += event.delta.text
    except anthropic.APIStatusError as raised:
        assert had == "one two" and raised.message
    else:
        raise AssertionError("APIStatusError was not raised")


def check_the_asynchronous_client_of_messages() -> None:
    async def ask() -> None:
        async with AsyncAnthropic(base_url=BASE_URL, api_key=KEY, max_retries=0) as patient:
            create = patient.messages.create
            answers = await asyncio.gather(
                *(create(model="sandbox/echo", max_tokens=100, messages=user(f"number {n}")) for n in range(10))
            )
            assert [text(answer) for answer in answers] == [f"number {n}" for n in range(10)]

    asyncio.run(ask())


def check_a_silent_stream_is_kept_awake_by_pings() -> None:
    assert SILENCE.result(timeout=60) == "at last"
