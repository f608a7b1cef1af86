"""What a body must look like to be taken in: one model a thing, read by the routes and shown in the documentation.

One rule: a field we know has its type and its bounds, a field we do not know is the provider's and passes untouched.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from app.http.refusals import Refused
from events.completions import Optimize

MESSAGES_MAX = 2000
"""Longest conversation taken in one body: its validation stays a few milliseconds, so no neighbour waits. For the same reason
every list ends at its first fault (`fail_fast`): to word 80,000 takes half a second, and the client is told one."""

PARTS_MAX = 2000
TOOLS_MAX = 512
TOKENS_MAX = 2**31 - 1

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Shaped(BaseModel):
    """Strict, because "0.5" for 0.5 would be refused by the provider seconds later and by nobody's clear word."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Part(Shaped):
    """One part of a message: text, image, audio, file. Only text is ours to look into."""

    type: Name
    text: str | None = None


class Called(Shaped):
    """The function a model called."""

    name: Name
    arguments: str


class ToolCall(Shaped):
    """A call that the assistant made."""

    id: Name
    type: Name = "function"
    function: Called | None = None


class ChatMessage(Shaped):
    """One message of a conversation."""

    role: Role
    content: str | Annotated[list[Part], Field(max_length=PARTS_MAX, fail_fast=True)] | None = None
    """Text or parts. Null only where an assistant called tools."""
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=TOOLS_MAX, fail_fast=True)] | None = None
    tool_call_id: Name | None = None


class Function(Shaped):
    """A function a model may call."""

    name: Name
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Tool(Shaped):
    """A tool a model may use."""

    type: Name
    function: Function | None = None


class StreamOptions(Shaped):
    include_usage: bool | None = None


class ResponseFormat(Shaped):
    type: Name
    """`text`, `json_object` or `json_schema`."""
    json_schema: dict[str, object] | None = None


class ChatBody(Shaped):
    """The body of a chat completion, OpenAI's, with three fields of Helix's own: `optimize`, `conversation_id`, and
    `model` may be `auto`."""

    model: Name | None = None
    """An id from `/v1/models`, `provider/id` for exactly one provider, or `auto`. May be left out on `/v1/chat`."""
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX, fail_fast=True)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: Annotated[str, Field(max_length=4096)] | Annotated[list[str], Field(max_length=64)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    tools: Annotated[list[Tool], Field(max_length=TOOLS_MAX, fail_fast=True)] | None = None
    tool_choice: Name | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Name | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    store: bool | None = None
    """Keep the turns of this completion as a conversation."""
    conversation_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """Add the turns of this completion to this conversation."""
    optimize: Optimize | None = None
    """What the router should prefer where it may choose."""

    @model_validator(mode="after")
    def _each_message_says_something(self) -> Self:
        for place, message in enumerate(self.messages):
            if message.content is None and not (
                message.role == "assistant" and (message.tool_calls or message.model_extra)
            ):
                raise PydanticCustomError(
                    "content_missing", "content is missing", {"param": f"messages[{place}].content"}
                )
        return self


Shape = TypeVar("Shape", bound=BaseModel)


def shaped(shape: type[Shape], parsed: dict[str, object]) -> Shape:
    """The body as its shape. Raises Refused 400 that names the first fault."""
    try:
        return shape.model_validate(parsed)
    except ValidationError as invalid:
        raise refuse_invalid(invalid) from None


def missing(param: str) -> Refused:
    """A field that this route needs and the body does not have."""
    return Refused(400, "missing_required_parameter", f"Missing required parameter: '{param}'.", param=param)


_CODES = {
    "missing": "missing_required_parameter",
    "content_missing": "missing_required_parameter",
    "too_short": "array_below_min_length",
    "too_long": "array_above_max_length",
    "string_too_short": "string_below_min_length",
    "string_too_long": "string_above_max_length",
    "greater_than": "number_below_min_value",
    "greater_than_equal": "number_below_min_value",
    "less_than": "number_above_max_value",
    "less_than_equal": "number_above_max_value",
}
"""pydantic's word → OpenAI's. What ends in `_type` is `invalid_type`, the rest `invalid_value`."""


def refuse_invalid(invalid: ValidationError) -> Refused:
    """The first fault of a body as a 400 that names its field, such as `messages[0].role`. Never repeats a value."""
    faults = invalid.errors(include_url=False, include_input=False)
    # A union reports a fault for each of its kinds: the one that reached deepest is the one that was meant.
    fault = max(faults, key=lambda each: len(_steps(each["loc"])))
    param = str(fault.get("ctx", {}).get("param") or _path(_steps(fault["loc"])))
    if (code := _CODES.get(fault["type"])) == "missing_required_parameter":
        return missing(param)
    if code is None:
        code = "invalid_type" if fault["type"].endswith("_type") else "invalid_value"
    wanted = dict.fromkeys(_said(each) for each in faults if _path(_steps(each["loc"])) == param)
    return Refused(400, code, f"Invalid value for '{param}': {'; or: '.join(wanted) or _said(fault)}.", param=param)


def _said(fault: ErrorDetails) -> str:
    """pydantic speaks of dictionaries and instances; a client sent JSON."""
    return "Input should be an object" if fault["type"] in ("model_type", "dict_type") else fault["msg"]


def _steps(place: tuple[int | str, ...]) -> list[int | str]:
    """pydantic names the kinds of a union within the place (`str`, `list[Part]`…): no field of ours looks so."""
    return [step for step in place if isinstance(step, int) or not _names_a_kind(step)]


def _names_a_kind(step: str) -> bool:
    return step in ("str", "int", "float", "bool") or "[" in step or step.startswith("constrained-")


def _path(steps: list[int | str]) -> str:
    said = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return said.removeprefix(".") or "body"
