"""A walk through the OpenAI SDK against Helix: chat completions, embeddings, models, errors.

One rule: every payload is also validated strictly against the SDK's own models, which by themselves take anything.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import openai
from openai import AsyncOpenAI, OpenAI
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

BASE_URL = os.environ["HELIX_BASE_URL"]
KEY = os.environ["HELIX_KEY"]
LIMITED_KEY = os.environ["HELIX_LIMITED_KEY"]
"""May ask once a minute."""
SCOPED_KEY = os.environ["HELIX_SCOPED_KEY"]
"""May do something else than chat."""

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)

Found = dict[str, object]

TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


def user(content: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": content}]


def silence() -> str:
    stream = client.chat.completions.create(
        model="sandbox/faulty", messages=user("[delay_ms=16000] at last"), stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


SILENCE = ThreadPoolExecutor(1).submit(silence)
"""Long enough for a ping, which the SDK must not mind; it runs beside everything else."""


def raises(kind: type[openai.APIStatusError], status: int, code: str | None, ask: Callable[[], object]) -> None:
    """It must raise exactly this class, with everything an application looks at."""
    try:
        ask()
    except openai.APIStatusError as raised:
        assert type(raised) is kind, raised
        assert (raised.status_code, raised.code) == (status, code), (raised.status_code, raised.code)
        assert raised.message and raised.type
        assert (raised.request_id or "").startswith("req_")
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def chunks_of(**asked: object) -> list[ChatCompletionChunk]:
    """The chunks of a stream, each line of it validated strictly."""
    create = client.chat.completions.with_streaming_response.create
    with create(stream=True, **asked) as answer:  # type: ignore[call-overload]  # the caller's words, as they are
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [ChatCompletionChunk.model_validate_json(line.removeprefix("data: "), strict=True) for line in lines[:-1]]


def check_chat() -> Found:
    raw = client.chat.completions.with_raw_response.create(model="sandbox/echo", messages=user("hello there"))
    ChatCompletion.model_validate_json(raw.text, strict=True)
    completion = raw.parse()
    assert completion.choices[0].message.content == "hello there"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage and completion.usage.total_tokens == 4
    assert completion._request_id and raw.headers["x-request-id"] == completion._request_id
    assert raw.headers["x-helix-provider"] == "sandbox"
    return {"request": completion._request_id}


def check_a_streamed_chat() -> None:
    words = "one two three four"
    asked = {"model": "sandbox/echo", "messages": user(words)}
    chunks = chunks_of(**asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == words
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert all(chunk.usage is None for chunk in chunks)

    stream = client.chat.completions.create(model="sandbox/echo", messages=user(words), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == words


def check_a_stream_with_its_usage() -> None:
    asked = {"model": "sandbox/echo", "messages": user("one two"), "stream_options": {"include_usage": True}}
    *others, last = chunks_of(**asked)
    assert last.choices == [] and last.usage and last.usage.total_tokens == 4
    assert all(chunk.usage is None for chunk in others)


def check_the_stream_helper() -> None:
    with client.chat.completions.stream(model="sandbox/echo", messages=user("by the helper")) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "by the helper"


def check_a_tool_is_called_and_its_result_answered() -> None:
    asked = user("what is the weather in Oslo?")
    first = client.chat.completions.create(model="sandbox/tools", messages=asked, tools=[TOOL])
    ChatCompletion.model_validate(first.to_dict(), strict=True)
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function" and call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"place"}
    again: list[ChatCompletionMessageParam] = [
        *asked,
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": call.function.to_dict()}]},  # type: ignore[typeddict-item]  # as applications write it
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    second = client.chat.completions.create(model="sandbox/tools", messages=again, tools=[TOOL])
    assert second.choices[0].message.content == "rain"


def check_a_streamed_tool_call() -> None:
    chunks = chunks_of(model="sandbox/tools", messages=user("the weather?"), tools=[TOOL])
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert {call.index for call in calls} == {0}
    assert [call.function.name for call in calls if call.function and call.function.name] == ["weather"]
    assert set(json.loads("".join(call.function.arguments or "" for call in calls if call.function))) == {"place"}


class Answer(BaseModel):
    """What `parse` reads a structured answer into."""

    city: str
    rain: bool


def check_a_structured_answer() -> None:
    told = user('{"city": "Oslo", "rain": true}')
    parsed = client.chat.completions.parse(model="sandbox/echo", messages=told, response_format=Answer)
    assert parsed.choices[0].message.parsed == Answer(city="Oslo", rain=True)
    plain = client.chat.completions.create(model="sandbox/echo", messages=told, response_format={"type": "json_object"})
    assert json.loads(plain.choices[0].message.content or "")["city"] == "Oslo"


def check_images_and_unknown_fields_pass() -> None:
    completion = client.chat.completions.create(
        model="sandbox/echo",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                ],
            }
        ],
        extra_body={"brand_new": {"deep": 1}},
    )
    assert completion.choices[0].message.content == "what is this?"


def check_models() -> None:
    listed = list(client.models.list())
    assert "sandbox/echo" in [model.id for model in listed]
    for model in listed:
        Model.model_validate(model.to_dict(), strict=True)
    assert client.models.retrieve("sandbox/echo").id == "sandbox/echo"
    raises(openai.NotFoundError, 404, "model_not_found", lambda: client.models.retrieve("nobody"))


def check_embeddings_of_texts_and_of_token_ids() -> None:
    """The SDK asks for base64 by itself and makes floats of it."""
    for given, count in (("one", 1), (["one", "two"], 2), ([15339, 1917], 1), ([[15339], [1917]], 2)):
        made = client.embeddings.create(model="sandbox/embed", input=given)
        assert [one.index for one in made.data] == list(range(count))
        assert all(isinstance(number, float) for one in made.data for number in one.embedding)
        assert made.usage.total_tokens > 0
    raw = client.embeddings.with_raw_response.create(
        model="sandbox/embed", input="one", encoding_format="float", dimensions=8
    )
    floats = CreateEmbeddingResponse.model_validate_json(raw.text, strict=True).data[0].embedding
    packed = client.embeddings.create(model="sandbox/embed", input="one", dimensions=8).data[0].embedding
    assert len(floats) == 8 and all(abs(one - other) < 1e-6 for one, other in zip(floats, packed, strict=True))

    def too_many() -> object:
        return client.embeddings.create(model="sandbox/embed", input=["x"] * 2049)

    raises(openai.BadRequestError, 400, "invalid_type", too_many)


def check_a_wrong_key_is_an_authentication_error() -> None:
    wrong = client.with_options(api_key="hx_user_wrong")
    raises(openai.AuthenticationError, 401, "invalid_api_key", lambda: wrong.models.list())


def check_a_key_for_something_else_is_a_permission_error() -> None:
    other = client.with_options(api_key=SCOPED_KEY)

    def ask() -> object:
        return other.chat.completions.create(model="sandbox/echo", messages=user("hello"))

    raises(openai.PermissionDeniedError, 403, "scope_missing", ask)


def check_a_wrong_value_is_a_bad_request() -> None:
    def ask() -> object:
        return client.chat.completions.create(model="sandbox/echo", messages=user("hello"), temperature=5)

    raises(openai.BadRequestError, 400, "number_above_max_value", ask)


def check_an_unknown_model_is_not_found() -> None:
    def ask() -> object:
        return client.chat.completions.create(model="gpt-nobody", messages=user("hello"))

    raises(openai.NotFoundError, 404, "model_not_found", ask)


def check_a_key_used_for_another_body_is_unprocessable() -> None:
    key = {"Idempotency-Key": os.urandom(8).hex()}
    client.chat.completions.create(model="sandbox/echo", messages=user("one"), extra_headers=key)

    def ask() -> object:
        return client.chat.completions.create(model="sandbox/echo", messages=user("two"), extra_headers=key)

    raises(openai.UnprocessableEntityError, 422, "idempotency_key_reused", ask)


def check_too_many_are_a_rate_limit_error() -> None:
    limited = client.with_options(api_key=LIMITED_KEY)
    raw = limited.chat.completions.with_raw_response.create(model="sandbox/echo", messages=user("one"))
    assert raw.headers["x-ratelimit-limit-requests"] == "1"
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
    try:
        limited.chat.completions.create(model="sandbox/echo", messages=user("two"))
    except openai.RateLimitError as raised:
        assert raised.code == "rate_limit_exceeded"
        assert 0 < float(raised.response.headers["retry-after"]) <= 60
    else:
        raise AssertionError("RateLimitError was not raised")


def check_a_provider_that_fails_is_a_server_error() -> None:
    try:
        client.chat.completions.create(model="sandbox/faulty", messages=user("[status=500] no"))
    except openai.InternalServerError as raised:
        assert raised.status_code >= 500
    else:
        raise AssertionError("InternalServerError was not raised")


def check_a_stream_that_breaks_off_raises_in_the_loop() -> None:
    had = ""
    try:
        stream = client.chat.completions.create(
            model="sandbox/faulty", messages=user("[error_after=2] one two three"), stream=True
        )
        for chunk in stream:
            had += chunk.choices[0].delta.content or ""
    except openai.APIError:
        assert had == "one two"
    else:
        raise AssertionError("APIError was not raised")


def check_a_repetition_after_a_timeout_attaches() -> Found:
    """The SDK gives up after a second and asks again; Helix goes on with what it has begun."""
    impatient = client.with_options(timeout=1.0, max_retries=3)
    words = os.urandom(8).hex()
    raw = impatient.chat.completions.with_raw_response.create(
        model="sandbox/faulty", messages=user(f"[delay_ms=1800] {words}")
    )
    assert raw.retries_taken >= 1
    assert raw.parse().choices[0].message.content == words
    return {"request": raw.headers["x-request-id"]}


def check_the_asynchronous_client() -> None:
    async def ask() -> None:
        async with AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as patient:
            create = patient.chat.completions.create
            answers = await asyncio.gather(
                *(create(model="sandbox/echo", messages=user(f"number {number}")) for number in range(10))
            )
            said = [answer.choices[0].message.content for answer in answers]
            assert said == [f"number {number}" for number in range(10)]
            stream = await create(model="sandbox/echo", messages=user("streamed too"), stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "streamed too"

    asyncio.run(ask())


def check_a_silent_stream_stays_awake() -> None:
    assert SILENCE.result(timeout=60) == "at last"
