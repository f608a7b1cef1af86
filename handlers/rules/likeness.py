"""Which earlier question means the same: what is compared, and how near is near enough.

One rule: only the last words of the user are compared by meaning; everything else, and every figure and negation in those
words, must be the same to the letter. Vectors put "due in 30 days" beside "due in 90 days", and "is safe" beside "is not safe".
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Final

from events.completions import Complete
from handlers.rules.caching import digest_of

LIKENESS_MIN: Final = 0.95
"""Cosine. Published measurements of semantic caches find wrong answers to rise steeply below 0.9; we stay well above."""

WORDS_CHARACTERS_MAX: Final = 2_000
"""The vector of a longer text says what it is about and no longer what it asks."""

NEIGHBOURS_MAX: Final = 64
"""Earlier questions that are compared, the newest: 64 of 1536 numbers take about five milliseconds."""

_FIGURES: Final = re.compile(r"\d+(?:[.,:/-]\d+)*")
_NEGATIONS: Final = re.compile(
    r"\b(?:not?|never|none|nothing|without|except|cannot|nicht|kein\w*|nie|ohne)\b|n['\u2019]t\b", re.I
)
"""Of English and German: what turns a question round with one word."""

_SCALE: Final = 127


@dataclass(frozen=True, slots=True)
class Parted:
    """A question in two."""

    group: str
    """The digest of everything but the words, their figures and negations included."""
    words: str
    """What the user said last."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An earlier question of the same group."""

    digest: str
    """Where its answer is kept."""
    vector: bytes


def part(account: str, ask: Complete, body: bytes) -> Parted | None:
    """None where the question does not end with words of the user alone, or with too many.

    Raises ValueError when it is no JSON object.
    """
    asked = json.loads(body)
    name = {"openai": "messages", "anthropic": "messages", "responses": "input"}.get(ask.wire)
    said = asked.get(name) if isinstance(asked, dict) and name else None
    words: str | None
    if isinstance(said, str):
        words, before = said, []
    elif isinstance(said, list) and said and isinstance(said[-1], dict) and said[-1].get("role") == "user":
        words, before = _text(said[-1].get("content")), [*said[:-1], {**said[-1], "content": None}]
    else:
        return None
    if not words or len(words) > WORDS_CHARACTERS_MAX:
        return None
    turns = [each.lower() for each in _NEGATIONS.findall(words)]
    rest: dict[str, Any] = asked | {name: [before, _FIGURES.findall(words), turns]}
    return Parted(digest_of(account, ask, json.dumps(rest).encode()), words)


def packed(vector: Sequence[float]) -> bytes:
    """A vector of any length as whole numbers from -127 to 127, one byte each: enough to tell 0.95 from 0.94.

    Raises ValueError for one that has no direction.
    """
    largest = max((abs(number) for number in vector), default=0.0)
    if not largest or not math.isfinite(largest):
        raise ValueError("a vector without a direction")
    return array("b", (round(number / largest * _SCALE) for number in vector)).tobytes()


def nearest(vector: bytes, neighbours: Sequence[Neighbour]) -> tuple[Neighbour, float] | None:
    """The neighbour that is nearest, and how near (cosine); None when none is near enough."""
    best: tuple[Neighbour, float] | None = None
    own = array("b", vector)
    length = _length(own)
    for neighbour in neighbours:
        other = array("b", neighbour.vector)
        if len(other) != len(own):  # of another embedding model
            continue
        likeness = sum(map(mul, own, other)) / ((length * _length(other)) or 1.0)
        if likeness >= LIKENESS_MIN and (best is None or likeness > best[1]):
            best = neighbour, likeness
    return best


def _length(vector: array[int]) -> float:
    return math.sqrt(sum(map(mul, vector, vector)))


def _text(content: object) -> str | None:
    """Text, or parts that are nothing but text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for part_ in content:
        text = part_.get("text") if isinstance(part_, dict) and part_.get("type") in ("text", "input_text") else None
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "\n".join(texts)
