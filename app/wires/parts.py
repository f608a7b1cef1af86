"""Pieces of a question that several wires share, in the inner form."""

from __future__ import annotations

import hashlib

from app.wires import Json

NAME_CHARACTERS_MAX = 64
"""What every provider takes as a function's name; Anthropic's own models take twice as much."""

PICTURES_FOLLOW = "(The pictures of this result follow.)"
"""What stands in a tool's result in place of its pictures, which the inner form takes from users only."""


def short_name(name: str) -> str:
    """A function's name that every provider takes: too long a one is cut, and told from its like by a digest of the
    whole."""
    if len(name) <= NAME_CHARACTERS_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: NAME_CHARACTERS_MAX - 9]}_{digest}"


def text_part(text: str) -> Json:
    return {"type": "text", "text": text}


def picture_part(url: str, detail: object = None) -> Json:
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if isinstance(detail, str) else {})}}


def file_part(name: object, data: str) -> Json:
    """`data` is a `data:` address."""
    return {"type": "file", "file": {"filename": name if isinstance(name, str) else "document.pdf", "file_data": data}}


def content_of(parts: list[Json]) -> str | list[Json]:
    """A lone text as a string, which every server understands; else the parts."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def tool_messages(results: list[tuple[str, list[Json]]]) -> list[Json]:
    """(call id, parts) of several results → a `tool` message each, then their pictures in one message of the user."""
    messages: list[Json] = []
    pictures: list[Json] = []
    for call, parts in results:
        texts = [part["text"] for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if others:
            texts.append(PICTURES_FOLLOW)
            pictures += [text_part(f"Of the result of the call {call}:"), *others]
        messages.append({"role": "tool", "tool_call_id": call, "content": "\n".join(texts)})
    if pictures:
        messages.append({"role": "user", "content": pictures})
    return messages


def strictly(schema: object) -> bool:
    """Whether OpenAI's strict mode takes this schema: every object closed, every property required."""
    if isinstance(schema, list):
        return all(strictly(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if isinstance(properties := schema.get("properties"), dict) and not (
        schema.get("additionalProperties") is False and set(schema.get("required") or ()) == set(properties)
    ):
        return False
    return all(
        strictly(value) for name, value in schema.items() if name not in ("enum", "const", "default", "examples")
    )
