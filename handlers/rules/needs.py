"""What a question needs of a model, read from its body on each wire.

One rule: nothing here is counted exactly. A provider is the judge of its own window; we only spare a client the call that
is sure to fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from events.completions import Wire
from handlers.rules.catalogue import Offer

BYTES_A_TOKEN: Final = 4
"""Of English text as JSON; other scripts have more bytes a letter and more tokens a letter, which about evens out."""

OUTPUT_TOKENS_EXPECTED: Final = 400
"""An ordinary chat answer, where the client sets no lower limit."""

_ATTACHED: Final = (b'"image', b'"input_image', b'"input_audio', b'"file', b'"input_file', b'"document', b'"source"')
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_PICTURES: Final = frozenset({"image_url", "input_image", "image"})
_ATTACHMENTS: Final = _PICTURES | {"input_audio", "file", "input_file", "document"}
_ORDINARY_TOOLS: Final = frozenset({None, "function", "custom"})
"""Tools that the client runs itself, on every wire; the others are run by a provider of the same wire."""

Json = Mapping[str, Any]  # Any: a client's body, looked at and never trusted


@dataclass(frozen=True, slots=True)
class Needs:
    """What a question wants of the model that answers it."""

    input_tokens: int = 0
    """Estimated."""
    output_tokens: int | None = None
    """The limit that the client set."""
    capabilities: frozenset[str] = frozenset()
    """Among `tools`, `images`, `json`, `reasoning`, as the catalogue has them."""
    wire: Wire | None = None
    """Only a provider that speaks this wire itself knows what is asked."""
    choices: int = 1

    @property
    def output_expected(self) -> int:
        return min(self.output_tokens or OUTPUT_TOKENS_EXPECTED, OUTPUT_TOKENS_EXPECTED)


NONE: Final = Needs()


def needs_of(wire: Wire, body: bytes) -> Needs:
    """Raises ValueError when the body is no JSON object."""
    asked = json.loads(body)
    if not isinstance(asked, dict):
        raise ValueError("the question is no object")
    attached = list(_attachments(asked)) if any(mark in body for mark in _ATTACHED) else []
    wanted = set()
    if asked.get("tools") or asked.get("functions"):
        wanted.add("tools")
    if any(kind in _PICTURES for kind, _ in attached):
        wanted.add("images")
    if _format(asked) in ("json_object", "json_schema"):
        wanted.add("json")
    if asked.get("reasoning_effort") or asked.get("reasoning") or _kind(asked.get("thinking")) == "enabled":
        wanted.add("reasoning")
    choices = asked.get("n")
    return Needs(
        input_tokens=max(0, len(body) - sum(size for _, size in attached)) // BYTES_A_TOKEN,
        output_tokens=output_limit(asked),
        capabilities=frozenset(wanted),
        wire=wire if _asks_its_own(wire, asked) else None,
        choices=choices if isinstance(choices, int) else 1,
    )


def output_limit(asked: Json) -> int | None:
    """The most tokens that the client wants in one answer; None where it sets no limit. Of two the higher: which one
    counts is for the provider to say."""
    return max((asked[name] for name in _LIMITS if isinstance(asked.get(name), int)), default=None)


def attachments_in(asked: Json) -> list[int]:
    """The bytes of each part that is no text: a picture, a sound, a document."""
    return [size for _, size in _attachments(asked)]


def unmet(needs: Needs, offer: Offer) -> str | None:
    """Why this offer cannot serve the question, in a few words; None when it can, as far as we know."""
    if missing := needs.capabilities - offer.capabilities:
        return f"not known to have {', '.join(sorted(missing))}"
    if offer.context_window is not None and needs.input_tokens > offer.context_window:
        return f"about {needs.input_tokens} tokens do not fit into {offer.context_window}"
    if needs.output_tokens is not None and needs.output_tokens > (offer.output_tokens_max or needs.output_tokens):
        return f"writes at most {offer.output_tokens_max} tokens"
    if needs.wire == "responses" and "responses" not in offer.capabilities:
        return "does not speak responses, whose own tools are asked for"
    if needs.wire == "anthropic" and offer.wire != "anthropic":
        return "does not speak Anthropic's messages, whose own tools are asked for"
    if needs.choices > 1 and offer.wire == "anthropic":
        return "gives one choice only"
    return None


def _asks_its_own(wire: Wire, asked: Json) -> bool:
    if wire not in ("responses", "anthropic"):
        return False
    return any(_kind(tool) not in _ORDINARY_TOOLS for tool in _list(asked.get("tools")))


def _format(asked: Json) -> str | None:
    """The form that the answer is to have: OpenAI's two wires and Anthropic's name it each in their own place."""
    for name in ("response_format", "output_format"):
        if kind := _kind(asked.get(name)):
            return kind
    for name in ("text", "output_config"):
        outer = asked.get(name)
        if isinstance(outer, dict) and (kind := _kind(outer.get("format"))):
            return kind
    return None


def _attachments(asked: Json) -> Iterator[tuple[str, int]]:
    """Each part that is no text: its kind and its bytes, which are not tokens."""
    for message in (*_list(asked.get("messages")), *_list(asked.get("input"))):
        parts = message.get("content") if isinstance(message, dict) else None
        yield from _of(_list(parts))


def _of(parts: Iterable[object]) -> Iterator[tuple[str, int]]:
    for part in parts:
        kind = _kind(part)
        if kind in _ATTACHMENTS:
            yield kind, _size(part)
        elif kind == "tool_result" and isinstance(part, dict):
            yield from _of(_list(part.get("content")))


def _size(value: object) -> int:
    """The letters of all text in it; addresses and data are most of an attachment."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else _list(value)
    return sum(_size(each) for each in inner)


def _kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
