"""What happened, as lines of JSON: what each client asked, was promised and saw, and what was broken meanwhile.

One rule: a line is written when its story has ended, and says only what was seen from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Kind = Literal["plain", "stream", "async", "keyed", "resumed", "leaving"]
"""One that waits; one that streams; one that comes back later; one that repeats itself under one Idempotency-Key; one
that follows the events, is cut off and resumes; one that leaves early."""

Seen = Literal["completed", "failed", "cancelled", "refused", "unknown", "missing", "unanswered"]
"""How a client's story ended. `refused`: an error before anything was accepted. `unknown`: cut off without a request id.
`missing`: a request it had been promised was not found. `unanswered`: its patience was over."""

FaultName = Literal[
    "worker",
    "web",
    "projector",
    "log",
    "cache",
    "postgres",
    "freeze",
    "power",
    "outage",
    "stale",
    "network",
    "line",
    "flush",
    "clock",
    "memory",
    "locked",
    "node",
]
"""A role: it is killed. `network` is everybody's line to the log, `line` that of one role to one server; `flush` empties
the cache, `clock` sets a clock, `memory` fills the log, `locked` holds the table of usage, `node` kills a node of three."""


class Line(BaseModel):
    """One value of the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Frame(Line):
    """One event of a followed request, as the client had it. A word is a delta; `restarted` voids all before it."""

    id: str
    kind: Literal["word", "restarted", "end"]
    text: str = ""


class Call(Line):
    """One client's story of one question."""

    record: Literal["call"] = "call"
    kind: Kind
    account: str
    question: str
    words: int
    """How many the whole answer has."""
    began_s: float
    """Seconds since the campaign began."""
    ended_s: float
    statuses: tuple[int, ...] = ()
    """Every HTTP status it was answered with; 0 is a connection that broke."""
    promised: tuple[str, ...] = ()
    """Requests whose acceptance it was told: by a 202, a 200, or the first byte of a stream."""
    seen: Seen
    heard: tuple[str, ...] = ()
    """Each text it was shown that should hang together by itself."""
    frames: tuple[Frame, ...] = ()
    final: str | None = None
    """The whole answer, where it got that far."""


class Broken(Line):
    """One fault that was done."""

    record: Literal["fault"] = "fault"
    fault: FaultName
    at_s: float
    target: str
    held: int = 0
    """Commands that were in the victim's hands, or in all workers' where the victim is a server."""
    lost_bytes: int = 0
    """Of the log, cut off because they had not been fsynced."""


class Probe(Line):
    """One account asking for another's request."""

    record: Literal["probe"] = "probe"
    request: str
    status: int


class Gate(Line):
    """What two keys got at the door all the while: one that is revoked, and one with a limit."""

    record: Literal["gate"] = "gate"
    revoked: dict[int, int]
    """HTTP status → how often the revoked key was answered it; 0 is a connection that broke."""
    limited: dict[int, int]
    admitted: int
    """Requests of the limited account that were let in."""
    allowed: int
    """How many its limit lets in over that time."""


Record = Call | Broken | Probe | Gate

_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Annotated[Record, Field(discriminator="record")])


class History:
    """The file that grows while the campaign runs."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)
        self._file.write(record.model_dump_json() + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_history(path: Path) -> Iterator[Record]:
    """The records of an evidence folder. Raises pydantic.ValidationError for what is no history."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield _RECORD.validate_json(line)
