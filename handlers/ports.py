"""What handlers ask of the outside world. `app.wiring` alone chooses who answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from events.completions import Wire
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.rating import Usage

FailureKind = Literal[
    "connect",  # no connection, or it broke before the first byte of an answer
    "timeout",  # no first byte, a silence, or the whole took too long
    "rate_limited",  # 429
    "overloaded",  # 503, 529
    "server_error",  # any other 5xx
    "bad_request",  # 400, 413, 422: the question itself is wrong, nobody else will like it better
    "context_overflow",  # the question is longer than the model's window
    "content_policy",  # the provider will not answer this
    "auth",  # 401, 403: our key is wrong, not the client's
    "not_found",  # 404: the provider does not have this model
    "garbled",  # what came back is not in the provider's own format
    "cut",  # the answer broke off before the provider's proper end
]


class TryLater(Exception):
    """The world was not ready; leave the command pending, it comes again."""


class NeverAgain(Exception):
    """This can never succeed; park it with the reason."""


class ProviderFailed(Exception):
    """A provider did not answer as asked.

    `message` is the provider's own word, so it is content: shown to the client, never logged. `status` is the
    provider's HTTP status where there was one; `retry_after_s` what it asked us to wait.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Question:
    """What a provider is asked. `body` is the client's JSON object, Helix's own fields taken out, `model` as the client
    named it."""

    wire: Wire
    body: bytes = field(repr=False)
    stream: bool
    include_usage: bool
    """The client wants the usage chunk; the adapter always asks the provider for it and keeps it back otherwise."""


@dataclass(slots=True)
class Transcript:
    """What one attempt has heard so far. The adapter writes it as it listens, so that what was said is known however the
    attempt ends."""

    frame: Callable[[bytes], None] = field(repr=False)
    """Told each piece of a streamed answer in the client's wire format, as SSE bytes (`data: {…}\\n\\n`, whole events,
    never the closing `[DONE]`). Must not block."""
    answer: bytes | None = field(default=None, repr=False)
    """The whole answer as JSON in the client's wire format, set when the provider has properly ended."""
    text: list[str] = field(default_factory=list, repr=False)
    """The assistant's text, piece by piece."""
    message: bytes | None = field(default=None, repr=False)
    """The assistant's message as a JSON object (role, content, tool_calls), set with `answer`; what a conversation keeps."""
    usage: Usage | None = None
    finish_reason: str | None = None
    first_at: float | None = None
    """time.monotonic() of the first delta of a streamed answer."""
    frames: int = 0
    """How many frames went out; above zero a client may have seen text."""


class Providers(Protocol):
    """The models of the world."""

    catalogue: Catalogue

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None:
        """Ask one offer once, without a retry of its own, and write what comes into `heard`.

        Returns when the provider has properly ended its answer, with `heard.answer`, `heard.message` and
        `heard.finish_reason` set. Raises ProviderFailed; being cancelled closes the provider's connection at once.
        """
        ...

    def count(self, question: Question, text: str) -> Usage:
        """Tokens of a question and of the text heard so far, counted here; `source` is `estimated`."""
        ...


class Vault(Protocol):
    """Seals content under its account's data key. `kind` and `id` bind a sealed text to its place."""

    async def seal(self, account: str, kind: str, id: str, content: bytes) -> bytes: ...

    async def open(self, account: str, kind: str, id: str, sealed: bytes) -> bytes:
        """Raises Erased when the account's data key is destroyed, Tampered when the seal does not fit its place."""
        ...


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, UTC."""
        ...
