"""What handlers ask of the outside world. `app.wiring` alone chooses who answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, Protocol, TypeVar

from events.completions import Wire
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.failure import FailureKind
from handlers.rules.likeness import Neighbour
from handlers.rules.rating import Usage
from handlers.rules.standing import NOTHING_KNOWN, Call, Picture

Read = TypeVar("Read")


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
    request: str = ""
    """The id of the request, `req_…`: an answer that bears an id of ours bears this one's digits."""
    forwarded: tuple[tuple[str, str], ...] = ()
    """Headers of the client's for a provider of the same wire, in small letters."""


@dataclass(slots=True)
class Transcript:
    """What one attempt has heard so far. The adapter writes it as it listens, so that what was said is known however the
    attempt ends."""

    frame: Callable[[bytes], None] = field(repr=False)
    """Told each piece of a streamed answer in the client's wire format, as SSE bytes (`data: {…}\\n\\n`, whole events),
    but for the closing one, which the door says once the end is on the log: `[DONE]`, `message_stop`,
    `response.completed` or `response.incomplete`. Must not block."""
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
    limited_s: float | None = None
    """The provider has said that nothing is left of what it allows us, for so long."""
    frames: int = 0
    """How many events went out; above zero a client may have seen text."""


class Providers(Protocol):
    """The models of the world."""

    catalogue: Catalogue

    async def ask(
        self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float, key: int = 0
    ) -> None:
        """Ask one offer once, with the key of this number (`Offer.keys`), without a retry of its own, and write what
        comes into `heard`.

        Returns when the provider has properly ended its answer, with `heard.answer`, `heard.message` and
        `heard.finish_reason` set. Raises ProviderFailed; being cancelled closes the provider's connection at once.
        """
        ...

    def count(self, question: Question, text: str) -> Usage:
        """Tokens of a question and of the text heard so far, counted here; `source` is `estimated`."""
        ...


class Box(Protocol):
    """Seals and opens one account's content. `kind` and `id` bind a sealed text to its place."""

    def seal(self, kind: str, id: str, content: bytes) -> bytes: ...

    def open(self, kind: str, id: str, sealed: bytes) -> bytes:
        """Raises an error when the seal does not fit its place or the data key is destroyed."""
        ...

    def digest(self, content: bytes) -> str:
        """The same for the same content while the data key is the same; without it nobody can make or guess it."""
        ...


class Vault(Protocol):
    """The data keys of all accounts."""

    async def box(self, account: str) -> Box:
        """Raises an error when the account's data key is destroyed or cannot be had now."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is kept: one account's, never anybody else's."""

    account: str
    scope: str
    """What can be forgotten together: `completions`, `agent:<name>`, `prompt:<id>`."""
    digest: str
    """The question's name, made by the account's box."""


class Lead(Protocol):
    """The task of finding an answer that others may be waiting for. It ends with `keep` or `leave`; whichever is called
    later does nothing. Neither blocks nor fails."""

    def keep(self, content: bytes, *, ttl_s: int) -> None:
        """Here it is."""
        ...

    def leave(self) -> None:
        """I have none; the next may look for it."""
        ...


@dataclass(frozen=True, slots=True)
class Recalled(Generic[Read]):
    """What the kept answers say to one who asks: here it is, or go and find it."""

    value: Read | None
    lead: Lead | None
    """None: nothing is kept of what is found now, for the answers cannot be reached."""


class Answers(Protocol):
    """What was answered before, kept for a while and sealed. Whatever it holds may vanish at any moment."""

    async def find(
        self,
        place: Place,
        box: Box,
        read: Callable[[bytes], Read],
        *,
        age_s_max: int,
        patience_s: float,
        anew: bool = False,
    ) -> Recalled[Read]:
        """What is kept there and no older than `age_s_max`; otherwise the lead, which one at a time has: the others wait
        up to `patience_s` for what it finds. `anew` takes no kept answer, and waits for nobody.

        `read` makes the value of what was kept; a ValueError of it means that it is worth nothing: it is forgotten.
        """
        ...

    async def peek(self, place: Place, box: Box, read: Callable[[bytes], Read], *, age_s_max: int) -> Read | None:
        """What is kept there and no older, without ever taking the lead."""
        ...


class Nearby(Protocol):
    """Earlier questions by their meaning, a bounded number for each group, the newest. As forgetful as the answers."""

    model: str
    """The embedding model that makes the vectors."""

    async def neighbours(self, group: Place, box: Box) -> Sequence[Neighbour]:
        """The newest first; none when they cannot be reached."""
        ...

    def note(self, group: Place, neighbour: Neighbour, box: Box, *, ttl_s: int) -> None:
        """Neither blocks nor fails."""
        ...

    def made(self, usage: Usage | None) -> None:
        """A vector was made for so many tokens, or, None, could not be had."""
        ...


class Listener(Protocol):
    """Whoever waits for one answer."""

    def asked(self, offer: Offer, attempt: int) -> None:
        """This offer is asked now; `attempt` counts the calls of this request from 1."""
        ...

    def say(self, piece: bytes) -> None:
        """A piece of the answer, in the client's wire format. Must not block."""
        ...


class Standing(Protocol):
    """How the providers stand, as far as this worker knows. None of it blocks, fails or goes out to the network."""

    def picture(self) -> Picture: ...

    def began(self, offer: Offer, key: int) -> tuple[str, ...]:
        """It is asked now → the circuits that this call probes, to be given back with its end."""
        ...

    def ended(self, call: Call) -> None: ...

    def left(self, probed: tuple[str, ...]) -> None:
        """The call was cancelled, or never made: it says nothing about the provider."""
        ...


class Unwatched:
    """A `Standing` that remembers nothing: to it every provider is healthy, always."""

    def picture(self) -> Picture:
        return NOTHING_KNOWN

    def began(self, offer: Offer, key: int) -> tuple[str, ...]:
        return ()

    def ended(self, call: Call) -> None:
        return

    def left(self, probed: tuple[str, ...]) -> None:
        return


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a handler reaches the world by."""

    providers: Providers
    vault: Vault
    clock: Clock
    new_id: Callable[[], str]
    chance: Callable[[], float]
    """Uniform in [0, 1)."""
    answers: Answers
    """Asked only for those who want it (`Complete.cache_ttl_s`)."""
    standing: Standing = field(default_factory=Unwatched)
    nearby: Nearby | None = None
    """None: the semantic cache is off."""
    question_digests: bool = False
    """Somebody wants to know which questions are equal; otherwise nothing is digested."""


@dataclass(slots=True)
class Stop:
    """Why a running handler is cancelled: by the client's wish (then it ends with a fact), or, when `by` is None, because
    this process gives the command up (then it ends with nothing, and another goes on)."""

    by: Literal["client", "disconnect"] | None = None
