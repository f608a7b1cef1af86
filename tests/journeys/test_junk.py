"""Junk at the door: always a 4xx in OpenAI's shape, never a 500, and nothing is left of it anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.journeys.books import Books
from tests.journeys.client import Client, question

ASK = b'{"model": "sandbox/echo", "messages": [{"role": "user", "content": %s}]}'


def changed(**fields: object) -> bytes:
    """A good body with these fields instead of its own."""
    return json.dumps({**question("hello"), **fields}).encode()


def messages(*them: object) -> bytes:
    return changed(messages=list(them))


JUNK = {
    "nothing": b"",
    "a space": b" ",
    "no json": b"hello",
    "half an object": b'{"model": "sandbox/echo"',
    "two objects": b"{}{}",
    "a field named twice": b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}], "model": "sandbox/echo"}',
    "a comment": b'{"model": "sandbox/echo" /* why not */}',
    "an empty object": b"{}",
    "an array": b"[]",
    "a number": b"1",
    "null": b"null",
    "a string": b'"hello"',
    "latin-1": ASK % '"\xe9"'.encode("latin-1"),
    "a byte order mark": b"\xef\xbb\xbf" + ASK % b'"hello"',
    "utf-16": question.__name__.encode("utf-16"),
    "a raw NUL": ASK % b'"a\x00b"',
    "an escaped NUL": ASK % rb'"a\u0000b"',
    "an escaped NUL in a name": rb'{"model": "sandbox/echo", "messages": [{"role": "user", "content": "x", "a\u0000": 1}]}',
    "a lone surrogate": ASK % rb'"\ud800"',
    "surrogates in the wrong order": ASK % rb'"\udc00\ud800"',
    "NaN": changed()[:-1] + b', "temperature": NaN}',
    "Infinity": changed()[:-1] + b', "temperature": Infinity}',
    "1e400": changed()[:-1] + b', "temperature": 1e400}',
    "a number of 5000 digits": changed()[:-1] + b', "seed": ' + b"9" * 5000 + b"}",
    "100000 brackets": b"[" * 100_000,
    "100000 levels": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100000 levels in a field": changed()[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a million small objects": changed()[:-1] + b', "x": [' + b"{}," * 1_000_000 + b"{}]}",
    "an unknown model": changed(model="gpt-nobody"),
    "an unknown model of a known provider": changed(model="sandbox/nobody"),
    "a model of one line feed": changed(model="\n"),
    "an empty model": changed(model=""),
    "a long model": changed(model="m" * 100_000),
    "a model that is a number": changed(model=1),
    "a model that is a list": changed(model=["sandbox/echo"]),
    "no messages": changed(messages=[]),
    "messages that are null": changed(messages=None),
    "messages that are a string": changed(messages="hello"),
    "messages that are an object": changed(messages={"role": "user", "content": "hello"}),
    "a message that is a string": messages("hello"),
    "a message that is null": messages(None),
    "a message of nobody": messages({"content": "hello"}),
    "a message of an unknown role": messages({"role": "emperor", "content": "hello"}),
    "a message without content": messages({"role": "user"}),
    "a content that is a number": messages({"role": "user", "content": 1}),
    "a content that is an object": messages({"role": "user", "content": {"text": "hello"}}),
    "a part without type": messages({"role": "user", "content": [{"text": "hello"}]}),
    "a part that is a string": messages({"role": "user", "content": ["hello"]}),
    "too many messages": messages(*[{"role": "user", "content": "x"}] * 3000),
    "stream in words": changed(stream="yes"),
    "stream as a number": changed(stream=1),
    "a temperature in words": changed(temperature="hot"),
    "a temperature of three": changed(temperature=3),
    "a temperature below zero": changed(temperature=-1),
    "max_tokens of zero": changed(max_tokens=0),
    "max_tokens below zero": changed(max_tokens=-1),
    "max_tokens and a half": changed(max_tokens=1.5),
    "max_tokens beyond all bounds": changed(max_tokens=10**30),
    "n of zero": changed(n=0),
    "n of a million": changed(n=10**6),
    "tools that are a string": changed(tools="all"),
    "a tool without a name": changed(tools=[{"type": "function", "function": {}}]),
    "stop as a number": changed(stop=1),
    "a response format in words": changed(response_format="json"),
    "a conversation with a slash": changed(conversation_id="../etc/passwd"),
    "an empty conversation": changed(conversation_id=""),
    "an unknown wish": changed(optimize="luck"),
    "metadata of numbers": changed(metadata={"a": 1}),
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat"])
async def test_junk_is_refused_in_openais_shape_and_leaves_nothing_behind(
    client: Client, books: Books, path: str, name: str
) -> None:
    before = await books.lengths()
    refused = await client.post(path, JUNK[name])
    assert 400 <= refused.status < 500, refused.body
    assert set(refused.error) == {"message", "type", "param", "code"}
    assert isinstance(refused.error["message"], str) and refused.error["message"]
    assert refused.error["type"] == "invalid_request_error"
    assert refused.request.startswith("req_")
    assert await books.lengths() == before
    assert await books.database.fetchval("SELECT count(*) FROM usage WHERE request_id = $1", refused.request) == 0


NO_JSON = {
    name: JUNK[name]
    for name in (
        "nothing",
        "no json",
        "an array",
        "latin-1",
        "a raw NUL",
        "a lone surrogate",
        "100000 levels in a field",
    )
}

OTHER_ROADS: dict[str, tuple[str, dict[str, object], dict[str, dict[str, object]]]] = {
    "messages": (
        "/v1/messages",
        {"model": "sandbox/echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
        {
            "an unknown model": {"model": "nobody"},
            "no messages": {"messages": []},
            "no bound": {"max_tokens": None},
            "a bound of zero": {"max_tokens": 0},
            "a role of nobody": {"messages": [{"role": "emperor", "content": "x"}]},
            "a message without content": {"messages": [{"role": "user"}]},
            "a block without type": {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "a system of numbers": {"system": [1]},
            "a temperature of two": {"temperature": 2},
            "tools that are a string": {"tools": "all"},
            "stream in words": {"stream": "yes"},
            "stop as a word": {"stop_sequences": "stop"},
        },
    ),
    "responses": (
        "/v1/responses",
        {"model": "sandbox/echo", "input": "hello"},
        {
            "an unknown model": {"model": "nobody"},
            "no input": {"input": None},
            "an input that is a number": {"input": 1},
            "an item that is a string": {"input": ["hello"]},
            "too many items": {"input": [{"role": "user", "content": "x"}] * 6000},
            "an id that is a number": {"previous_response_id": 1},
            "an id of nobody": {"previous_response_id": "resp_" + "f" * 32},
            "a tool without a type": {"tools": [{"name": "x"}]},
            "a background in words": {"background": "yes"},
            "metadata of numbers": {"metadata": {"a": 1}},
            "a bound below zero": {"max_output_tokens": -1},
        },
    ),
    "embeddings": (
        "/v1/embeddings",
        {"model": "sandbox/embed", "input": "hello"},
        {
            "a model for chats": {"model": "sandbox/echo"},
            "no input": {"input": None},
            "an empty text": {"input": ""},
            "no texts": {"input": []},
            "a text and a number": {"input": ["x", 1]},
            "tokens below zero": {"input": [-1]},
            "too many texts": {"input": ["x"] * 2049},
            "three hundred thousand tokens": {"input": [1] * 300_001},
            "no dimensions": {"dimensions": 0},
            "a format of no kind": {"encoding_format": "hex"},
        },
    ),
}


def _other_junk() -> list[Any]:
    found: list[Any] = []
    for road, (path, good, changes) in OTHER_ROADS.items():
        bodies = NO_JSON | {name: json.dumps(good | change).encode() for name, change in changes.items()}
        found += [pytest.param(path, body, id=f"{road}-{name}") for name, body in bodies.items()]
    return found


@pytest.mark.parametrize(("path", "body"), _other_junk())
async def test_junk_is_refused_in_the_shape_of_its_road(client: Client, books: Books, path: str, body: bytes) -> None:
    before = await books.lengths()
    refused = await client.post(path, body)
    assert 400 <= refused.status < 500, refused.body
    shape = {"type", "message"} if path == "/v1/messages" else {"message", "type", "param", "code"}
    assert set(refused.error) == shape and refused.error["message"]
    assert await books.lengths() == before


async def test_fifty_megabytes_are_refused_as_too_large(client: Client, books: Books) -> None:
    before = await books.lengths()
    refused = await client.complete(ASK % (b'"' + b"x" * 50_000_000 + b'"'))
    assert refused.status == 413
    assert set(refused.error) == {"message", "type", "param", "code"}
    assert await books.lengths() == before


HEADERS: dict[str, tuple[str, str]] = {
    "a wish of no kind": ("x-helix-optimize", "luck"),
    "a parting of no kind": ("x-helix-on-disconnect", "perhaps"),
    "headers without end": ("x-long", "x" * 40_000),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_that_makes_no_sense_is_refused(client: Client, books: Books, name: str) -> None:
    before = await books.lengths()
    header, value = HEADERS[name]
    refused = await client.complete(question("hello"), **{header: value})
    assert 400 <= refused.status < 500
    assert set(refused.error) == {"message", "type", "param", "code"}
    assert await books.lengths() == before


@pytest.mark.parametrize("key", ["", "nonsense", "hx_user_", "hx_user_" + "0" * 64, "hx_user_" + "g" * 72, "кey"])
async def test_a_key_that_is_none_is_refused(client: Client, books: Books, key: str) -> None:
    before = await books.lengths()
    refused = await client.complete(question("hello"), authorization=f"Bearer {key}")
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert await books.lengths() == before


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "after=nobody", "status=happy", "model=%00"])
async def test_a_list_asked_for_in_a_way_that_makes_no_sense_is_refused(client: Client, query: str) -> None:
    refused = await client.get(f"/v1/requests?{query}")
    assert (refused.status, refused.error["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize(
    "id", ["req_1", "nobody", "req_" + "0" * 32, "%00", "req_" + "0" * 31 + "%0a", "..%2f..%2fetc"]
)
async def test_a_request_that_nobody_made_is_not_found(client: Client, id: str) -> None:
    assert (await client.get(f"/v1/requests/{id}")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("DELETE", "/v1/models", 405), ("POST", "/v1/nowhere", 404)],
)
async def test_a_way_that_leads_nowhere_is_refused_in_the_same_shape(
    client: Client, method: str, path: str, status: int
) -> None:
    refused = await client.send(method, path)
    assert refused.status == status
    assert set(refused.error) == {"message", "type", "param", "code"}


async def test_fields_that_nobody_knows_pass(client: Client) -> None:
    assert (await client.complete(question("hello", brand_new={"deep": [1, 2, {"x": None}]}))).text == "hello"
