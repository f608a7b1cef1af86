"""Tokens counted here, where a provider did not tell: an estimate, offline, by the encoding of OpenAI's newer models.

One rule: it never fails and never takes long, whatever the text is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

import orjson
import tiktoken

from app.providers.price_list import litellm_folder
from events.completions import Wire
from handlers.ports import Question
from handlers.rules.rating import Usage

_ENCODING = "o200k_base"
MESSAGE_TOKENS = 4
"""What each message costs beside its text: its role and the marks around it."""
COUNTED_CHARACTERS_MAX = 100_000
"""Counting blocks the event loop, 10 ms for this many; of a longer text the rest is reckoned by the same ratio."""
_SAID: Mapping[Wire, tuple[str, ...]] = {
    "openai": ("messages",),
    "anthropic": ("system", "messages"),
    "responses": ("instructions", "input"),
    "embeddings": (),
}
"""Where a question's words stand."""
_READ = ("content", "text", "thinking", "output", "arguments", "summary", "refusal")
"""Fields of messages and parts that hold text."""
_READ_AS_JSON = ("tool_calls", "input")
_PIECE_CHARACTERS = 4_000
"""One call: a long run of the same letter takes the tokenizer time that grows with the square of its length."""


@lru_cache
def encoding() -> tiktoken.Encoding:
    """The encoding, from the file that ships with litellm: nothing is downloaded. Takes half a second, once."""
    os.environ["TIKTOKEN_CACHE_DIR"] = str(litellm_folder() / "litellm_core_utils" / "tokenizers")
    return tiktoken.get_encoding(_ENCODING)


def count(question: Question, text: str) -> Usage:
    """The question's tokens and those of the text heard so far; pictures and sound are not counted."""
    return Usage(question_tokens(question), text_tokens(text), source="estimated")


def anthropic_tokens(body: bytes) -> int:
    """The tokens of a body for `/v1/messages`, for whoever asks before sending it: an estimate, offline.

    The first call of a process loads the encoding: call `encoding` in a thread before.
    """
    return _body_tokens("anthropic", body)


def text_tokens(text: str) -> int:
    counted = text[:COUNTED_CHARACTERS_MAX].encode("utf-8", "replace").decode()  # lone surrogates have no token
    pieces = [counted[at : at + _PIECE_CHARACTERS] for at in range(0, len(counted), _PIECE_CHARACTERS)]
    tokens = sum(len(encoding().encode_ordinary(piece)) for piece in pieces)
    return tokens if len(text) <= COUNTED_CHARACTERS_MAX else tokens * len(text) // COUNTED_CHARACTERS_MAX


def question_tokens(question: Question) -> int:
    return _body_tokens(question.wire, question.body)


def _body_tokens(wire: Wire, body: bytes) -> int:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0
    if not isinstance(asked, dict):
        return 0
    texts: list[str] = []
    units = 0
    for name in _SAID[wire]:
        said = asked.get(name)
        units += len(said) if isinstance(said, list) else 0
        texts += _texts(said)
    if wire == "embeddings":
        return _input_tokens(asked.get("input"))
    if tools := asked.get("tools"):
        texts.append(orjson.dumps(tools).decode())
    return MESSAGE_TOKENS * units + text_tokens("\n".join(texts))


def _input_tokens(given: object) -> int:
    """What embeddings are asked for: a text, several, or tokens counted by the client."""
    if isinstance(given, list):
        return sum(1 if isinstance(item, int) else _input_tokens(item) for item in given)
    return text_tokens(given) if isinstance(given, str) else 0


def _texts(said: object) -> list[str]:
    """What a model reads of a message, an item or a part, however deep it lies."""
    if isinstance(said, str):
        return [said]
    if isinstance(said, list):
        return [text for item in said for text in _texts(item)]
    if not isinstance(said, dict):
        return []
    texts = [text for name in _READ if name in said for text in _texts(said[name])]
    return texts + [orjson.dumps(said[name]).decode() for name in _READ_AS_JSON if said.get(name)]
