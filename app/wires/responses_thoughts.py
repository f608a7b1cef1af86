"""Thinking of Anthropic's models on OpenAI's responses: signed blocks travel as a reasoning item's `encrypted_content`
and come back with the next question, as a model that thinks between tool calls wants."""

from __future__ import annotations

import base64
from typing import Final

import orjson

from app.wires import Json

_MARK: Final = "helix.thinking.1."
"""Before what is ours; anything else is somebody else's, and not read."""


def thoughts_out(blocks: list[Json]) -> str:
    """Blocks of thinking → `encrypted_content`."""
    return _MARK + base64.urlsafe_b64encode(orjson.dumps(blocks)).decode()


def thoughts_in(encrypted: object) -> list[Json]:
    """And back; none where it is not ours."""
    if not isinstance(encrypted, str) or not encrypted.startswith(_MARK):
        return []
    try:
        blocks = orjson.loads(base64.urlsafe_b64decode(encrypted.removeprefix(_MARK)))
    except ValueError:
        return []
    return [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
