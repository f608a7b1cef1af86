"""Embeddings: floats, base64 and tokens, and what is not believed."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import orjson
import pytest
import tiktoken

from app.providers import counting
from app.providers.endpoints import Endpoint
from app.providers.sandbox_embeddings import DIMENSIONS, embed
from app.providers.transport import Transport
from app.providers.world import AnyWire
from handlers.ports import ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage
from tests.fakes.provider import Asked, Script, provider

USAGE = {"prompt_tokens": 2, "total_tokens": 2}


def vectors(*said: object, **more: Any) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(said)]
    return json.dumps({"object": "list", "data": data, "model": "their-name", "usage": USAGE, **more}).encode()


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


async def ask(answer: bytes, name: str = "fake", **body: Any) -> tuple[Transcript, Asked]:
    heard = Transcript(lambda _: None)
    transport = Transport()
    async with provider(Script([answer])) as fake:
        adapter = AnyWire(Endpoint(name, "openai", fake.base_url), transport)
        question = Question("embeddings", orjson.dumps({"model": "m", **body}), False, False)
        try:
            await adapter.ask(Offer(name, "m", "up", "openai", None, kind="embedding"), question, heard, deadline_s=10)
        finally:
            await transport.close()
        return heard, fake.asked[0]


@pytest.mark.parametrize("given", [[[0.5, -1.0], [2.0, 0.25]], [packed(0.5, -1.0), packed(2.0, 0.25)]])
@pytest.mark.parametrize("wanted", ["float", "base64", None])
async def test_vectors_leave_as_the_client_asked_whichever_way_they_came(given: list[Any], wanted: str | None) -> None:
    more = {"encoding_format": wanted} if wanted else {}
    heard, asked = await ask(vectors(*given), input=["a", "b"], **more)
    answer = orjson.loads(heard.answer or b"")
    expected: list[Any] = [[0.5, -1.0], [2.0, 0.25]]
    if wanted == "base64":
        expected = [packed(*vector) for vector in expected]
    assert [item["embedding"] for item in answer["data"]] == expected
    assert asked.json == {"model": "up", "input": ["a", "b"], **more}
    assert (heard.usage, answer["usage"]) == (Usage(2, 0), USAGE)


async def test_tokens_reach_openai_and_text_reaches_everybody_else() -> None:
    counting.encoding()
    words = ["hello world", "and more"]
    tokens = [tiktoken.get_encoding("cl100k_base").encode(text) for text in words]
    for name, sent in (("openai", tokens), ("local", words)):
        _, asked = await ask(vectors([1.0], [2.0]), name, input=tokens)
        assert asked.json["input"] == sent
    _, asked = await ask(vectors([1.0]), "local", input=tokens[0])
    assert asked.json["input"] == words[0]


async def test_tokens_that_are_none_are_refused() -> None:
    with pytest.raises(ProviderFailed) as refused:
        await ask(vectors([1.0]), input=[10**9])
    assert (refused.value.kind, refused.value.param) == ("bad_request", "input")


async def test_vectors_come_in_the_order_of_the_texts() -> None:
    mixed = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}
    heard, _ = await ask(vectors(**mixed), input=["a", "b"])
    data = orjson.loads(heard.answer or b"")["data"]
    assert [(item["index"], item["embedding"]) for item in data] == [(0, [1.0]), (1, [2.0])]


async def test_tokens_that_a_provider_does_not_tell_are_counted() -> None:
    heard, _ = await ask(vectors([1.0], usage=None), input="hello world")
    assert heard.usage is None
    assert orjson.loads(heard.answer or b"")["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


ODD: dict[str, bytes] = {
    "no JSON": b"<html>",
    "no data": b"{}",
    "too few": vectors([1.0]),
    "too many": vectors([1.0], [1.0], [1.0]),
    "one index twice": vectors(data=[{"index": 0, "embedding": [1.0]}] * 2),
    "vectors of two lengths": vectors([1.0], [1.0, 2.0]),
    "empty vectors": vectors([], []),
    "a text for a number": vectors(["x"], ["y"]),
    "NaN": vectors([float("nan")], [1.0]),
    "NaN in base64": vectors(packed(float("nan")), packed(1.0)),
    "an infinity in base64": vectors(packed(float("inf")), packed(1.0)),
    "no base64": vectors("???", "???"),
    "half a number in base64": vectors("AAA=", "AAA="),
    "vectors that are none": vectors(None, None),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD.keys())
async def test_what_are_no_vectors_is_garbled(answer: bytes) -> None:
    with pytest.raises(ProviderFailed) as failed:
        await ask(answer, input=["a", "b"])
    assert failed.value.kind == "garbled"


async def test_vectors_of_another_length_than_asked_for_are_garbled() -> None:
    with pytest.raises(ProviderFailed) as failed:
        await ask(vectors([1.0, 2.0]), input="a", dimensions=3)
    assert failed.value.kind == "garbled"


async def test_a_provider_of_another_wire_has_none() -> None:
    transport = Transport()
    adapter = AnyWire(Endpoint("fake", "anthropic", "http://127.0.0.1:1"), transport)
    question = Question("embeddings", b'{"input": "a"}', False, False)
    with pytest.raises(ProviderFailed) as failed:
        await adapter.ask(Offer("f", "m", "m", "anthropic", None), question, Transcript(lambda _: None), deadline_s=1)
    await transport.close()
    assert failed.value.kind == "not_found"


def test_the_sandbox_s_vectors_are_of_length_one_the_same_again_and_near_for_like_texts() -> None:
    def near(one: str, other: str) -> float:
        first, second = (item["embedding"] for item in embed({"input": [one, other]})["data"])
        product: float = sum(a * b for a, b in zip(first, second, strict=True))
        return product

    assert len(embed({"input": "a"})["data"][0]["embedding"]) == DIMENSIONS
    assert near("the cat sat", "the cat sat") == pytest.approx(1.0)
    assert near("the cat sat down", "the cat sat up") > near("the cat sat down", "of prices and wages")
