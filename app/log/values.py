"""What is asked of the log server and what it answers, as values: admission, a worker's hold on a command, the frames of a
live stream, how a request stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

RETRY_S: Final = 600
"""How long an SDK's own retry finds the request it repeats (contract 3.2)."""

State = Literal["queued", "running", "completed", "failed", "cancelled"]
ENDED: Final[frozenset[str]] = frozenset(("completed", "failed", "cancelled"))


@dataclass(frozen=True, slots=True)
class Pace:
    """So many at once, and one more after each interval (GCRA)."""

    subject: str
    interval_us: float
    burst: int
    cost: int = 1


def pace(subject: str, most: int, within_s: int = 60, *, cost: int = 1) -> Pace:
    """At most so many in any such time."""
    return Pace(subject, within_s * 1_000_000 / most, most, cost)


@dataclass(frozen=True, slots=True)
class Purse:
    """What is counted for a subject, and held to at most so much, in nano-dollars; None is no bound."""

    subject: str
    day: int | None = None
    month: int | None = None
    ever: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What admission holds a request to."""

    paces: tuple[Pace, ...] = ()
    """Each is asked, and all must let it in."""
    tokens: Pace | None = None
    """The same for tokens: its cost is reserved, and set right at the end."""
    requests_a_day: int = 0
    """Of the account; 0 is no limit."""
    open_max: int = 0
    """Of the account; 0 is no limit."""
    purses: tuple[Purse, ...] = ()
    reserve_nanousd: int = 0
    """What is held in each purse until the request ends."""


@dataclass(frozen=True, slots=True)
class Left:
    """How a pace stands after a request."""

    left: int
    whole_after_s: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command is on disk."""

    paces: tuple[Left, ...] = ()
    """As they were asked for, that of the tokens last."""
    left_today: int | None = None
    """None where the day has no limit."""


@dataclass(frozen=True, slots=True)
class Same:
    """This has been asked before: `request` is the one that was accepted then."""

    request: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The idempotency key was used for another body."""


@dataclass(frozen=True, slots=True)
class TooFast:
    """A pace is used up: the one of this number, that of the tokens last."""

    pace: int
    retry_after_s: float
    left: int
    whole_after_s: float


@dataclass(frozen=True, slots=True)
class TooMany:
    """The account has as many requests open as it may."""

    open: int


@dataclass(frozen=True, slots=True)
class DayOver:
    """The account has made as many requests today as it may."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A purse cannot bear this request. Nano-dollars."""

    purse: Purse
    period: Literal["day", "month", "ever"]
    spent: int
    held: int


@dataclass(frozen=True, slots=True)
class Unreckoned:
    """What is spent on a subject is not known to the log server: it is to be reckoned from the books first."""

    subject: str


Admission = Accepted | Same | Mismatch | TooFast | TooMany | DayOver | Spent | Unreckoned


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
class Owned:
    """A command in a worker's hands. `attempt` is the delivery count: the fencing token."""

    partition: int
    entry: str
    attempt: int
    request: str
    account: str
    reply_to: str | None
    held: bool = False
    """It has reserved tokens or money, to be settled with its end."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request came to."""

    nanousd: int = 0
    tokens: int = 0


NOTHING: Final = Charge()


@dataclass(frozen=True, slots=True)
class Counted:
    """What a purse says, and the newest event on the log by then. Money in nano-dollars."""

    known: bool
    rev: str
    held: int
    day: str
    """The number of the day since 1970, UTC."""
    month: str
    """yyyymm."""
    in_day: int
    in_month: int
    ever: int
    newest: str

    @property
    def day_begin(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=int(self.day))

    @property
    def month_begin(self) -> datetime:
        return datetime(int(self.month[:4]), int(self.month[4:]), 1, tzinfo=UTC)


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
