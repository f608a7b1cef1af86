"""What the answers look like, for the documentation and for tests.

One rule: nothing is answered through these models. What OpenAI defines is passed on as the provider said it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel

from events.completions import PassedOver

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


class AnthropicError(_View):
    type: str
    message: str


class AnthropicErrorBody(_View):
    """Every refusal on Anthropic's routes, in Anthropic's shape."""

    type: Literal["error"] = "error"
    error: AnthropicError
    request_id: str


class EitherErrorBody(RootModel[ErrorBody | AnthropicErrorBody]):
    """A refusal in the shape of who asks: Anthropic's where `anthropic-version` was sent."""


class MessageUsage(_View):
    input_tokens: int
    """Without those read from or written to the provider's prompt cache."""
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class MessageView(_View):
    """Anthropic's message."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"]
    model: str
    content: list[JsonObject]
    stop_reason: str | None
    stop_sequence: str | None = None
    usage: MessageUsage


class TokenCount(_View):
    input_tokens: int


class ResponseView(_View):
    """OpenAI's response."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    """Unix seconds."""
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[JsonObject]
    error: JsonObject | None
    incomplete_details: JsonObject | None
    usage: JsonObject | None
    previous_response_id: str | None
    background: bool
    store: bool


class InputItems(_View):
    object: Literal["list"] = "list"
    data: list[JsonObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedResponse(_View):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class Embedding(_View):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """Floats, or little-endian floats of 32 bits in base64."""


class EmbeddingUsage(_View):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(_View):
    """OpenAI's embeddings."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


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
    """Who answered and why."""

    provider: str | None = None
    model: str | None = None
    reason: str | None
    considered: list[str]
    """`provider/model`, best first."""
    passed_over: list[PassedOver] = []
    """Who was not to be asked, and why."""


class CostView(_View):
    usd: str
    """An exact decimal."""
    nanousd: int
    """The same in 10⁻⁹ US dollars."""


class HelixCompletion(ChatCompletion):
    """A chat completion, with who answered, why, and what it cost."""

    routing: RoutingView
    cost: CostView


class ModelView(_View):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds."""
    owned_by: str
    provider: str | None
    context_window: int | None
    """Tokens."""
    output_tokens_max: int | None
    input_usd_per_million: str | None
    output_usd_per_million: str | None
    prices_as_of: str | None
    """The day of the price sheet."""
    kind: Literal["chat", "embedding"]
    capabilities: list[str] | None
    """Among `tools`, `images`, `json`, `reasoning`, `responses`; null where `anthropic-version` was sent."""
    simulated: bool
    """Answered by the sandbox, by no model."""


class ModelList(_View):
    object: Literal["list"] = "list"
    data: list[ModelView]
    has_more: bool
    first_id: str | None
    last_id: str | None


class AttemptView(_View):
    """One call to one provider."""

    provider: str
    model: str
    started_at: str
    ended_at: str
    outcome: Literal["answered", "failed", "cancelled", "abandoned"]
    why: str | None = None
    """The kind of failure."""
    status: int | None = None
    """The provider's HTTP status."""


class UsageView(_View):
    input_tokens: int
    cached_input_tokens: int
    """Of the input tokens, those read from the provider's cache."""
    output_tokens: int
    source: Literal["provider", "estimated"]


class RequestView(_View):
    """A request as a durable thing. What follows `attempts` is there once it has ended."""

    id: str
    object: Literal["request"] = "request"
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    created_at: str | None = None
    endpoint: str | None = None
    """The route it came by."""
    model: str | None = None
    """As it was asked for."""
    stream: bool | None = None
    cancel_requested: bool | None = None
    response: JsonObject | None = None
    """The answer or the error, in the wire format it was asked in."""
    attempts: list[AttemptView] | None = None
    http_status: int | None = None
    routing: RoutingView | None = None
    usage: UsageView | None = None
    cost: CostView | None = None
    cached: bool | None = None
    """Answered from the response cache, for nothing."""
    latency_ms: int | None = None
    """Accepted to ended."""
    ttft_ms: int | None = None
    """Provider asked to first delta."""


class CacheForgotten(_View):
    """No kept answer is given any more."""

    object: Literal["cache"] = "cache"
    deleted: Literal[True] = True


class CacheStats(_View):
    """What the response cache was good for."""

    object: Literal["cache.stats"] = "cache.stats"
    since: str
    requests: int
    """Billable ones, those answered from the cache included."""
    hits: int
    """Answered from the cache, for nothing."""
    saved: CostView
    """What these answers had cost when a provider gave them."""


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
