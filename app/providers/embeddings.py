"""OpenAI's embeddings: vectors for texts. An answer is believed only when it has as many vectors as were asked for, all
of one length, all of finite numbers; it leaves in the encoding that the client asked for, whichever the provider knows."""

from __future__ import annotations

import base64
import math
from array import array
from functools import lru_cache
from typing import Final

import orjson
import tiktoken
from yarl import URL

from app.providers import counting
from app.providers.assembly import Garbled, Json, token_count
from app.providers.endpoints import Endpoint
from app.providers.failures import failure_in
from app.providers.openai import own_headers
from app.providers.passing import ODD, garbled
from app.providers.transport import Transport
from handlers.ports import ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage

_ENCODING: Final = "cl100k_base"
"""Of OpenAI's embedding models, and so what clients count tokens with for any model that they do not know."""


class EmbeddingsWire:
    """One provider that speaks OpenAI's embeddings."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        assert endpoint.base_url is not None
        self._transport = transport
        self._url = URL(f"{endpoint.base_url}/embeddings")
        self._headers = own_headers(endpoint)
        self._takes_tokens = endpoint.provider == "openai"

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None:
        asked: Json = orjson.loads(question.body)
        given = asked.get("input")
        if not self._takes_tokens:
            asked["input"] = as_text(given)
        body = orjson.dumps(asked | {"model": offer.upstream})
        posted = self._transport.post(self._url, self._headers, body, stream=False, deadline_s=deadline_s)
        async with posted as reply:
            heard.limited_s = reply.limited_s
            _take(await reply.body(), asked, inputs(given), question, heard)


def inputs(given: object) -> int:
    """How many vectors an `input` asks for: a list of numbers is one text in tokens."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1


def as_text(given: object) -> object:
    """An `input` of tokens as text. Raises ProviderFailed where they are none."""
    if not isinstance(given, list) or not given or isinstance(given[0], str):
        return given
    try:
        if isinstance(given[0], int):
            return _encoding().decode(given)
        return [_encoding().decode(tokens) for tokens in given]
    except (KeyError, TypeError, OverflowError, ValueError):
        raise ProviderFailed("bad_request", "input: these are no tokens of cl100k_base.", param="input") from None


@lru_cache
def _encoding() -> tiktoken.Encoding:
    counting.encoding()  # says where the files lie
    return tiktoken.get_encoding(_ENCODING)


def _take(body: bytes, asked: Json, count: int, question: Question, heard: Transcript) -> None:
    try:
        answer: Json = orjson.loads(body)
        if error := answer.get("error"):
            raise failure_in(error)
        vectors = _vectors(answer["data"], count, asked.get("dimensions"))
        packed = asked.get("encoding_format") == "base64"
        heard.usage = _usage(answer.get("usage"))
    except (*ODD, OverflowError):
        raise garbled("answer") from None
    used = heard.usage or counting.count(question, "")
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector.tolist()}
        for index, vector in enumerate(vectors)
    ]
    whole = {"object": "list", "data": data, "model": answer.get("model") or asked.get("model")}
    heard.answer = orjson.dumps(whole | {"usage": {"prompt_tokens": used.input, "total_tokens": used.input}})


def _vectors(data: list[Json], count: int, dimensions: object) -> list[array[float]]:
    """The vectors in the order of the texts. Raises Garbled."""
    found = {item.get("index", place): _vector(item["embedding"]) for place, item in enumerate(data)}
    if len(data) != count or set(found) != set(range(count)):
        raise Garbled("as many vectors as texts")
    vectors = [found[index] for index in range(count)]
    length = dimensions if isinstance(dimensions, int) else len(vectors[0])
    if not length or any(len(vector) != length for vector in vectors):
        raise Garbled("vectors of one length")
    return vectors


def _vector(said: object) -> array[float]:
    """Numbers, or little-endian 32-bit floats in base64."""
    if isinstance(said, str):
        vector = array("f")
        vector.frombytes(base64.b64decode(said, validate=True))
        if _BIG_ENDIAN:
            vector.byteswap()
    elif isinstance(said, list):
        vector = array("d", said)
    else:
        raise Garbled("a vector")
    if not all(map(math.isfinite, vector)):
        raise Garbled("a number")
    return vector


def _packed(vector: array[float]) -> str:
    single = array("f", vector)
    if _BIG_ENDIAN:
        single.byteswap()
    return base64.b64encode(single.tobytes()).decode()


_BIG_ENDIAN: Final = array("H", [1]).tobytes() == b"\x00\x01"


def _usage(said: object) -> Usage | None:
    read = token_count(said.get("prompt_tokens")) if isinstance(said, dict) else None
    return None if read is None else Usage(read, 0)
