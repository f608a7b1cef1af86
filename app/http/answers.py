"""What the answers look like, for the documentation and for tests.

One rule: nothing is answered through these models. What OpenAI defines is passed on as the provider said it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

JsonObject = dict[str, object]


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ErrorDetail(_View):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(_View):
    """Every refusal, in OpenAI's shape."""

    error: ErrorDetail


class AssistantMessage(_View):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    tool_calls: list[JsonObject] | None = None


class Choice(_View):
    index: int
    message: AssistantMessage
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class TokenUsage(_View):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(_View):
    """OpenAI's chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """Unix seconds."""
    model: str
    choices: list[Choice]
    usage: TokenUsage | None = None


class RoutingView(_View):
    provider: str
    reason: str
    considered: list[str]


class HelixCompletion(ChatCompletion):
    """A chat completion, with who answered, why, and what it cost."""

    routing: RoutingView
    cost: JsonObject


class ModelView(_View):
    """One model at one provider."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(_View):
    object: Literal["list"] = "list"
    data: list[ModelView]


class AttemptView(_View):
    """One call to one provider."""

    provider: str
    model: str
    started_at: str
    ended_at: str
    outcome: Literal["answered", "failed", "cancelled", "abandoned"]
    why: str | None = None


class RequestView(_View):
    """A request as a durable thing; `response` is there once it has ended, in the wire format it was asked in."""

    id: str
    object: Literal["request"] = "request"
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    response: JsonObject | None = None
    attempts: list[AttemptView] | None = None


class ListView(_View):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: list[RequestView]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


class HealthView(_View):
    """Who answers and who does not."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] | None = None
