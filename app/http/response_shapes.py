"""What a body of OpenAI's responses must look like.

One rule, as in `shapes`: a field we know has its type and its bounds, a field we do not know is the provider's.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from app.http.shapes import TOKENS_MAX, TOOLS_MAX, Name, Shaped
from events.completions import Optimize

ITEMS_MAX: Final = 5000
"""Items of one input: an agent's session of a day, each turn of which has a call and its output."""


class Item(Shaped):
    """One item of an input: a message, a function call, its output, a thought. Without a type it is a message."""

    type: Name | None = None


class ResponseTool(Shaped):
    """A tool a model may use; of whatever kind."""

    type: Name
    name: Name | None = None


class ResponsesBody(Shaped):
    """The body of OpenAI's responses."""

    model: Name
    """An id from `/v1/models`, `provider/id` for exactly one provider, or `auto`."""
    input: str | Annotated[list[Item], Field(max_length=ITEMS_MAX, fail_fast=True)]
    """A text, or items."""
    instructions: str | None = None
    """What the model is told before everything else. Those of earlier responses are not taken over."""
    previous_response_id: Annotated[str, Field(max_length=256)] | None = None
    """Go on from this response."""
    store: bool | None = None
    """Keep the response for `GET /v1/responses/{id}` and for those that go on from it; unless it is false."""
    background: bool | None = None
    """Answer at once, and go on."""
    stream: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=TOOLS_MAX, fail_fast=True)] | None = None
    tool_choice: Name | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, object] | None = None
    reasoning: dict[str, object] | None = None
    include: Annotated[list[Name], Field(max_length=64)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    optimize: Optimize | None = None
    """Helix's own: what the router should prefer where it may choose."""
