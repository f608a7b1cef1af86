"""The sandbox's `embed` model: a vector for each text, of length 1, the same for the same text; texts that share words lie
nearer to each other than texts that share none."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any

from app.providers.sandbox_faults import Refused

MODEL = "embed"
DIMENSIONS = 64
DIMENSIONS_MAX = 4096
INPUTS_MAX = 2048

Json = dict[str, Any]


def embed(asked: Json) -> Json:
    """The answer to one question. Raises Refused."""
    given, dimensions = asked.get("input"), asked.get("dimensions") or DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= DIMENSIONS_MAX:
        raise Refused(400, f"dimensions: a number from 1 to {DIMENSIONS_MAX} is needed.")
    several = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    texts = [_words(item) for item in several]
    if len(texts) > INPUTS_MAX:
        raise Refused(400, f"input: at most {INPUTS_MAX} texts are taken.")
    packed = asked.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(_vector(words, dimensions) for words in texts)
    ]
    read = sum(map(len, texts))
    usage = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "data": data, "model": MODEL, "usage": usage}


def _words(given: object) -> list[str]:
    """Words, or tokens as if each were one."""
    if isinstance(given, str) and given:
        return given.split() or [given]
    if isinstance(given, list) and given and all(isinstance(token, int) for token in given):
        return [str(token) for token in given]
    raise Refused(400, "input: a text, tokens, or a list of either is needed.")


def _vector(words: list[str], dimensions: int) -> list[float]:
    """The sum of a direction for each word."""
    total = [0.0] * dimensions
    for word in words:
        stream = hashlib.shake_256(word.lower().encode()).digest(2 * dimensions)
        for place, (number,) in enumerate(struct.iter_unpack("<h", stream)):
            total[place] += number
    length = math.sqrt(sum(number * number for number in total)) or 1.0
    return [number / length for number in total]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
