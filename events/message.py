"""The shape of everything that is said on the log: a message, and the envelope it travels in.

One rule: a message never changes once it is written. A new shape is a new version (see `catalog`).
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, ClassVar, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SerializeAsAny

NanoUsd = Annotated[int, Field(ge=0)]
"""Money: an integer count of 10⁻⁹ US dollars."""

Tokens = Annotated[int, Field(ge=0, le=2**53)]
"""A count of tokens; the bound keeps a provider's nonsense out of the books."""

_BASE64: Final = r"^[A-Za-z0-9_-]*={0,2}$"

Sealed = Annotated[str, Field(pattern=_BASE64, repr=False)]
"""Content under its account's data key, as URL-safe base64; made and opened by `app.vault` alone."""

MaybeSealed = Annotated[str | None, Field(pattern=_BASE64, repr=False)]
"""The same, or nothing."""


def sealed_text(sealed: bytes) -> str:
    """Sealed bytes in the form a message carries them."""
    return urlsafe_b64encode(sealed).decode()


def sealed_bytes(text: str) -> bytes:
    """The sealed bytes that a message carries. Raises ValueError when it is no base64."""
    return urlsafe_b64decode(text)


class Message(BaseModel):
    """What is said, without when and by whom. Frozen; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ClassVar[str]
    """The name on the wire, for ever."""
    version: ClassVar[int] = 1


class Command(Message):
    """Asks for something to be done: verb + noun. It may be refused."""


class Event(Message):
    """Tells what has happened: noun + past. It is never refused and never changed."""


By = Annotated[str | None, Field(max_length=64)]
"""Who did it: `key:<id>`, `person:<id>`, `operator`; None where nobody wrote it down. Ids only, so that it may stay for
ever (docs/decisions/0027)."""


class Change(Event):
    """Tells that somebody has changed a state: a user, a key, a right, a setting. Each has a row in the audit log."""

    by: By = None


class Envelope(BaseModel):
    """When, about whom and because of what a message was said.

    `subject` is the request (or other thing) the message is about, `cause` the id of the message it follows from and
    `correlation` the id of the first message of the chain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    type: str
    version: int
    at: AwareDatetime
    account: str
    subject: str
    cause: str | None = None
    correlation: str
    body: SerializeAsAny[Message]

    @classmethod
    def begin(cls, message: Message, *, id: str, at: datetime, account: str, subject: str) -> Self:
        """The first message of a chain."""
        return cls(
            id=id,
            type=message.type,
            version=message.version,
            at=at,
            account=account,
            subject=subject,
            correlation=id,
            body=message,
        )

    def follow(self, message: Message, *, id: str, at: datetime) -> Envelope:
        """A message that this one caused: same account, subject and chain."""
        return Envelope(
            id=id,
            type=message.type,
            version=message.version,
            at=at,
            account=self.account,
            subject=self.subject,
            cause=self.id,
            correlation=self.correlation,
            body=message,
        )

    def encode(self) -> bytes:
        """The envelope as one line of JSON, the form `catalog.read` takes back."""
        return self.model_dump_json().encode()
