"""What a body of Anthropic's messages must look like, and what its newer version takes no more.

One rule, as in `shapes`: a field we know has its type and its bounds, a field we do not know is the provider's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from app.http.refusals import Refused
from app.http.shapes import MESSAGES_MAX, PARTS_MAX, TOKENS_MAX, TOOLS_MAX, Name, Shaped
from events.completions import Optimize

WITHOUT_SAMPLING: Final = "2026-10-21"
"""The version of Anthropic's API from which on three old liberties are refused."""


class Block(Shaped):
    """A part of a message: text, image, document, tool use, tool result, thinking."""

    type: Name
    text: str | None = None
    citations: object = None


class Message(Shaped):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Field(max_length=PARTS_MAX, fail_fast=True)]


class MessageTool(Shaped):
    """A tool a model may use; what has no type is the client's own."""

    name: Name | None = None
    type: Name | None = None
    input_schema: dict[str, object] | None = None


class CountBody(Shaped):
    """The body of a token count: a question that is not asked."""

    model: Name
    """An id from `/v1/models`, `provider/id` for exactly one provider, or `auto`."""
    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES_MAX, fail_fast=True)]
    system: str | Annotated[list[Block], Field(max_length=PARTS_MAX, fail_fast=True)] | None = None
    tools: Annotated[list[MessageTool], Field(max_length=TOOLS_MAX, fail_fast=True)] | None = None
    tool_choice: dict[str, object] | None = None
    thinking: dict[str, object] | None = None


class MessagesBody(CountBody):
    """The body of Anthropic's messages."""

    max_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    """Not from version 2026-10-21 on; nor `top_p`, `top_k`."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=TOKENS_MAX)] | None = None
    stop_sequences: Annotated[list[str], Field(max_length=64)] | None = None
    metadata: dict[str, object] | None = None
    optimize: Optimize | None = None
    """Helix's own: what the router should prefer where it may choose."""


def refuse_outdated(body: CountBody, version: str) -> None:
    """Raises Refused 400 for what this version of Anthropic's API takes no more, as Anthropic would."""
    if version < WITHOUT_SAMPLING:
        return
    for name in ("temperature", "top_p", "top_k"):
        if getattr(body, name, None) is not None:
            raise _refuse(name, f"{name} is not supported from version {WITHOUT_SAMPLING} on")
    for place, role, block in _blocks(body):
        if role == "assistant" and block.type == "document":
            raise _refuse(place, "a document cannot be in an assistant message")
        if role == "user" and block.type == "text" and block.citations:
            raise _refuse(f"{place}.citations", "citations cannot be sent in a user message")


def _blocks(body: CountBody) -> Iterator[tuple[str, str, Block]]:
    for number, message in enumerate(body.messages):
        if not isinstance(message.content, str):
            for at, block in enumerate(message.content):
                yield f"messages.{number}.content.{at}", message.role, block


def _refuse(param: str, message: str) -> Refused:
    return Refused(400, "invalid_value", f"{param}: {message}.", param=param)
