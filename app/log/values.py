"""What is asked of the log server and what it answers, as values: admission, a worker's hold on a command, the frames of a
live stream, how a request stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

RETRY_S: Final = 600
"""How long an SDK's own retry finds the request it repeats (contract 3.2)."""

State = Literal["queued", "running", "completed", "failed", "cancelled"]
ENDED: Final[frozenset[str]] = frozenset(("completed", "failed", "cancelled"))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command is on disk. `remaining` is None where no rate limit applies."""

    remaining: int | None
    whole_after_s: float


@dataclass(frozen=True, slots=True)
class Same:
    """This has been asked before: `request` is the one that was accepted then."""

    request: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The idempotency key was used for another body."""


@dataclass(frozen=True, slots=True)
class TooFast:
    """The rate limit is used up."""

    retry_after_s: float
    whole_after_s: float


@dataclass(frozen=True, slots=True)
class TooMany:
    """The account has as many requests open as it may."""

    open: int


Admission = Accepted | Same | Mismatch | TooFast | TooMany


@dataclass(frozen=True, slots=True)
class Repeat:
    """How an earlier request with the same meaning is found: by the client's own key, or by an SDK's retry."""

    caller: str
    """The API key whose SDK repeats itself."""
    idempotency_digest: str | None = None
    """SHA-256 of the Idempotency-Key; the account scopes it."""
    body_digest: str = ""
    """SHA-256 of route and body."""
    retry: Literal["", "note", "attach"] = ""
    """`note`: an SDK may repeat this; `attach`: it says that this is a repetition."""
    retry_s: int = RETRY_S
    """How long the repetition finds it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What admission holds the account to; 0 is no limit."""

    rate_subject: str
    rate_interval_us: int = 0
    burst: int = 0
    open_max: int = 0


@dataclass(frozen=True, slots=True)
class Owned:
    """A command in a worker's hands. `attempt` is the delivery count: the fencing token."""

    partition: int
    entry: str
    attempt: int
    request: str
    account: str
    reply_to: str | None


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What a consumer has taken over. `entries`: (entry id, attempt, fields)."""

    entries: Sequence[tuple[str, int, Mapping[bytes, bytes]]]
    gone: int
    """Entries whose body was gone from the log."""
    last: str
    """The last entry looked at: behind it there may be more; empty when there was nothing."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry of a live stream. `kind`: d delta, r restarted, e end. `number` counts the frames of an attempt."""

    entry: str
    request: str
    attempt: int
    kind: str
    number: int
    meta: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """What the log server knows of a request while it is open and for an hour after."""

    request: str
    account: str
    state: State
    fields: Mapping[str, str]
    event: str | None
    cancelled_by: str | None


def frame(entry: bytes, words: Sequence[bytes], request: str = "") -> Frame:
    """An entry of a live or reply stream as a value."""
    said = dict(zip(words[::2], words[1::2], strict=True))
    return Frame(
        entry=entry.decode(),
        request=said[b"r"].decode() if b"r" in said else request,
        attempt=int(said[b"a"]),
        kind=said[b"k"].decode(),
        number=int(said[b"n"]),
        meta=said.get(b"m", b""),
        body=said.get(b"f", b""),
    )


def standing(request: str, known: Mapping[str, str]) -> Standing:
    return Standing(
        request=request,
        account=known["account"],
        state=known["state"],  # type: ignore[arg-type]  # written by our scripts alone
        fields=known,
        event=known.get("event"),
        cancelled_by=known.get("cancel"),
    )
