"""The life of one completion: asked for once, ended exactly once."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from events.message import Command, Event, NanoUsd, Sealed, Tokens

Wire = Literal["openai"]
"""The format a client speaks and wants its answer in."""

Tier = Literal["free", "pro", "team", "enterprise"]
Optimize = Literal["cost", "speed", "quality"]
UsageSource = Literal["provider", "estimated"]
CallOutcome = Literal["answered", "failed", "cancelled"]
Outcome = Literal["completed", "failed", "cancelled"]


class Part(BaseModel):
    """A value inside a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Complete(Command):
    """Please answer this."""

    type: ClassVar[str] = "complete"

    endpoint: str
    """The route it came by, such as `/v1/chat/completions`."""
    wire: Wire
    api_key_id: str
    tier: Tier
    model: str
    """As the client named it: an id, `provider/id`, or `auto`."""
    optimize: Optimize | None = None
    stream: bool
    include_usage: bool = False
    """The client asked for the usage chunk at the end of its stream."""
    question: Sealed
    """The body as the client sent it, Helix's own fields taken out."""
    conversation: str | None = None
    """The conversation that this completion's turns are added to; None: they are not kept."""
    deadline: AwareDatetime
    reply_to: str | None = None
    """The web process that waits; None when the client polls."""


class Attempt(Part):
    """One call to one provider."""

    provider: str
    model: str
    started_at: AwareDatetime
    ended_at: AwareDatetime
    outcome: CallOutcome
    why: str | None = None
    """The kind of failure, never the provider's words."""
    status: int | None = None
    """The provider's HTTP status, where there was one."""


class Routing(Part):
    """Why this provider."""

    reason: str
    considered: tuple[str, ...] = ()
    """`provider/model`, best first."""


class Turn(Part):
    """One message of a conversation, sealed by itself so that it can be shown and erased by itself."""

    id: str
    role: str
    content: Sealed


class Turns(Part):
    """What a completion adds to its conversation, in the order it was said."""

    conversation: str
    turns: tuple[Turn, ...]


class CompletionEnded(Event):
    """What every end of a completion tells. One of the three below is said for each `Complete`, exactly once."""

    outcome: ClassVar[Outcome]

    endpoint: str
    wire: Wire
    api_key_id: str
    tier: Tier
    asked_model: str
    stream: bool
    accepted_at: AwareDatetime
    provider: str | None
    """Who answered, after fallback; None when nobody was called."""
    model: str | None
    input_tokens: Tokens
    """As billed by the provider, cached ones included."""
    cached_input_tokens: Tokens
    """Of the input tokens, those read from the provider's prompt cache."""
    cache_write_tokens: Tokens = 0
    """Of the input tokens, those written to the provider's prompt cache."""
    output_tokens: Tokens
    cost_nanousd: NanoUsd
    price_as_of: str | None
    """The day of the price list that the cost was reckoned with; None when nothing was billed."""
    usage_source: UsageSource
    billable: bool
    """Whether a provider's tokens were used: exactly these events have a usage row."""
    latency_ms: int
    """Accepted → ended."""
    ttft_ms: int | None
    """Request out → first delta in; None when not streamed."""
    attempts: tuple[Attempt, ...]
    routing: Routing | None
    answer: Sealed
    """The answer, or the error, as JSON in the client's wire format."""
    http_status: int
    """What a waiting client is answered with."""


class CompletionFinished(CompletionEnded):
    """The provider said its last token."""

    type: ClassVar[str] = "completion.finished"
    outcome: ClassVar[Outcome] = "completed"

    finish_reason: str | None
    conversation: Turns | None = None


class CompletionFailed(CompletionEnded):
    """No provider could answer, or one broke off after text had been sent."""

    type: ClassVar[str] = "completion.failed"
    outcome: ClassVar[Outcome] = "failed"

    why: str
    """The kind of failure of the last attempt, or `parked`."""


class CompletionCancelled(CompletionEnded):
    """The client did not want it any more."""

    type: ClassVar[str] = "completion.cancelled"
    outcome: ClassVar[Outcome] = "cancelled"

    by: Literal["client", "disconnect"]
