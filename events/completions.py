"""The life of one completion: asked for once, ended exactly once."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from events.message import Command, Event, MaybeSealed, NanoUsd, Sealed, Tokens

Wire = Literal["openai", "responses", "anthropic", "embeddings"]
"""The format a client speaks and wants its answer in: OpenAI's chat completions, its responses, Anthropic's messages,
OpenAI's embeddings."""

Tier = Literal["free", "pro", "team", "enterprise"]
Optimize = Literal["cost", "speed", "quality"]
UsageSource = Literal["provider", "estimated"]
CallOutcome = Literal["answered", "failed", "cancelled"]
Outcome = Literal["completed", "failed", "cancelled"]


class Part(BaseModel):
    """A value inside a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Policy(Part):
    """What an account wants of the router, as it stood when the request was accepted."""

    chain: tuple[str, ...] = ()
    """Model names to try in this order, once its own alias or fallback chain is resolved; empty: the name as asked."""
    only: tuple[str, ...] = ()
    """Providers that may be asked; empty: all."""
    never: tuple[str, ...] = ()
    """Providers that may not be asked."""


class ProviderKey(Part):
    """A key that the account has brought, by its name; the key itself is read by whoever asks the provider."""

    provider: str
    version: str


class Complete(Command):
    """Please answer this."""

    type: ClassVar[str] = "complete"
    version: ClassVar[int] = 2

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
    forwarded: tuple[tuple[str, str], ...] = ()
    """The client's headers that a provider of the same wire is sent, in small letters: `anthropic-beta` and the like."""
    previous: str | None = None
    """The request whose answer this one goes on from (`previous_response_id`); the question has it in already."""
    kept: MaybeSealed = None
    """What the client itself sent, without what stood before, where it is to be kept with the answer; sealed as
    `question`."""
    cache_ttl_s: int | None = None
    """Answer from, and keep in, the account's response cache for so long; None: do not."""
    cache_refresh: bool = False
    """Take no kept answer: ask, and keep the new one."""
    cache_similar: bool = False
    """An answer to a question that means the same will do."""
    policy: Policy | None = None
    provider_keys: tuple[ProviderKey, ...] = ()
    """The account's own keys: their providers are asked with these or not at all."""


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


class Metered(Part):
    """What a provider counted beside tokens in and out, where a price may hang on it."""

    cache_write_1h_tokens: Tokens = 0
    """Of the tokens written to the prompt cache, those kept there for an hour."""
    audio_input_tokens: Tokens = 0
    """Of the input tokens."""
    image_input_tokens: Tokens = 0
    """Of the input tokens."""
    audio_output_tokens: Tokens = 0
    """Of the output tokens."""
    reasoning_tokens: Tokens = 0
    """Counted apart from the output tokens, and sold at a price of their own; other reasoning is output."""
    citation_tokens: Tokens = 0
    """Read from the web, apart from the input tokens."""
    searches: Tokens = 0
    search_size: Literal["low", "medium", "high"] | None = None
    """How much of the web each search reads."""
    service: str = "standard"
    """As the provider says it has served: `flex`, `priority`, `batch` and the like."""
    marks: tuple[str, ...] = ()
    """What multiplies the price: `us` (data stays there), `fast`."""


class PassedOver(Part):
    """An offer that was not to be asked."""

    offer: str
    """`provider/model`."""
    why: str


class Routing(Part):
    """Why this provider."""

    reason: str
    considered: tuple[str, ...] = ()
    """`provider/model`, best first."""
    passed_over: tuple[PassedOver, ...] = ()


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
    price_version: str | None = None
    """The row of the price list that the cost was reckoned with; None when nothing was billed, or nothing is asked."""
    cached: bool = False
    """Answered from the response cache: no provider was asked and nothing is charged."""
    saved_nanousd: NanoUsd = 0
    """What a cached answer had cost when a provider gave it."""
    metered: Metered | None = None
    """None: nothing of it was counted."""
    question_digest: str | None = None
    """The same for equal questions of one account, for nobody else; None where nobody wants to know."""
    previous: str | None = None
    """As in the command."""
    kept: MaybeSealed = None
    """As in the command: the question, where it is kept with the answer."""
    own_key: bool = False
    """The provider was asked with a key that the account has brought: its tokens are on the account's own bill there."""


class CompletionFinished(CompletionEnded):
    """The provider said its last token."""

    type: ClassVar[str] = "completion.finished"
    version: ClassVar[int] = 2
    outcome: ClassVar[Outcome] = "completed"

    finish_reason: str | None
    conversation: Turns | None = None


class CompletionFailed(CompletionEnded):
    """No provider could answer, or one broke off after text had been sent."""

    type: ClassVar[str] = "completion.failed"
    version: ClassVar[int] = 2
    outcome: ClassVar[Outcome] = "failed"

    why: str
    """The kind of failure of the last attempt, or `parked`."""


class CompletionCancelled(CompletionEnded):
    """The client did not want it any more."""

    type: ClassVar[str] = "completion.cancelled"
    version: ClassVar[int] = 2
    outcome: ClassVar[Outcome] = "cancelled"

    by: Literal["client", "disconnect"]
