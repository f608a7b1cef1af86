"""Tokens counted here, where a provider did not tell: an estimate, offline, by the encoding of OpenAI's newer models.

One rule: it never fails and never takes long, whatever the text is.
"""

from __future__ import annotations

import os
from functools import lru_cache

import orjson
import tiktoken

from app.providers.price_list import litellm_folder
from handlers.ports import Question
from handlers.rules.rating import Usage

_ENCODING = "o200k_base"
MESSAGE_TOKENS = 4
"""What each message costs beside its text: its role and the marks around it."""
COUNTED_CHARACTERS_MAX = 100_000
"""Counting blocks the event loop, 10 ms for this many; of a longer text the rest is reckoned by the same ratio."""
_PIECE_CHARACTERS = 4_000
"""One call: a long run of the same letter takes the tokenizer time that grows with the square of its length."""


@lru_cache
def encoding() -> tiktoken.Encoding:
    """The encoding, from the file that ships with litellm: nothing is downloaded. Takes half a second, once."""
    os.environ["TIKTOKEN_CACHE_DIR"] = str(litellm_folder() / "litellm_core_utils" / "tokenizers")
    return tiktoken.get_encoding(_ENCODING)


def count(question: Question, text: str) -> Usage:
    """The question's tokens and those of the text heard so far; pictures and sound are not counted."""
    return Usage(question_tokens(question.body), text_tokens(text), source="estimated")


def text_tokens(text: str) -> int:
    counted = text[:COUNTED_CHARACTERS_MAX].encode("utf-8", "replace").decode()  # lone surrogates have no token
    pieces = [counted[at : at + _PIECE_CHARACTERS] for at in range(0, len(counted), _PIECE_CHARACTERS)]
    tokens = sum(len(encoding().encode_ordinary(piece)) for piece in pieces)
    return tokens if len(text) <= COUNTED_CHARACTERS_MAX else tokens * len(text) // COUNTED_CHARACTERS_MAX


def question_tokens(body: bytes) -> int:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0
    if not isinstance(asked, dict):
        return 0
    messages = asked.get("messages")
    texts: list[str] = []
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            texts += _texts(message.get("content"))
            if calls := message.get("tool_calls"):
                texts.append(orjson.dumps(calls).decode())
    if tools := asked.get("tools"):
        texts.append(orjson.dumps(tools).decode())
    overhead = MESSAGE_TOKENS * len(messages) if isinstance(messages, list) else 0
    return overhead + text_tokens("\n".join(texts))


def _texts(content: object) -> list[str]:
    """A message's text: a string, or the text parts of a list."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
