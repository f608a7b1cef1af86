"""OpenAI's embeddings through a whole Helix."""

from __future__ import annotations

import base64
import struct

import pytest

from tests.journeys.books import Books
from tests.journeys.client import Client, question

MODEL = "sandbox/embed"


async def test_texts_and_token_ids_become_vectors_in_their_order(client: Client, books: Books) -> None:
    inputs: tuple[object, ...] = ("one text", ["one text", "two texts"], [15339, 1917], [[15339], [1917, 0]])
    for given, count in zip(inputs, (1, 2, 1, 2), strict=True):
        answer = await client.post("/v1/embeddings", {"model": MODEL, "input": given})
        assert answer.status == 200, answer.body
        assert [one["index"] for one in answer.json["data"]] == list(range(count))
        assert answer.json["usage"]["total_tokens"] > 0
        assert await books.usage([answer.request]) == {answer.request: 1}


async def test_base64_is_the_same_vector(client: Client) -> None:
    asked = {"model": MODEL, "input": "one text", "dimensions": 8}
    floats = (await client.post("/v1/embeddings", asked)).json["data"][0]["embedding"]
    packed = (await client.post("/v1/embeddings", asked | {"encoding_format": "base64"})).json["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == pytest.approx(floats, rel=1e-6)


async def test_a_model_does_what_it_is_for(client: Client) -> None:
    assert (await client.post("/v1/embeddings", {"model": "sandbox/echo", "input": "x"})).status == 404
    assert (await client.complete(question("x", MODEL))).status == 404
    kinds = {model["id"]: model["kind"] for model in (await client.get("/v1/models")).json["data"]}
    assert (kinds[MODEL], kinds["sandbox/echo"]) == ("embedding", "chat")
