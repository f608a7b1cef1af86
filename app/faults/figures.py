"""What a campaign looked at, in numbers. One rule: they judge nothing; a clean verdict over nothing shows here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.faults.evidence import Evidence
from app.faults.history import Broken, Call, Gate, Record


@dataclass(frozen=True, slots=True)
class Figures:
    """What was looked at, so that a clean verdict over nothing is not taken for one."""

    calls: int
    promised: int
    terminals: int
    parked: int
    resumptions: int
    restarts_seen: int
    broken_streams: int
    """Streams that broke off behind their first byte; the client then asked for the answer by its id."""
    provider_calls: int
    provider_calls_repeated: int
    """More than one call for a request that was accepted once: done again by a later attempt."""
    provider_calls_unexplained: int
    """More calls than the request's attempts can have made."""
    statuses: dict[int, int] = field(default_factory=dict)
    """HTTP status → how often clients were answered it; 0 is a connection that broke."""
    faults: dict[str, int] = field(default_factory=dict)
    commands_hit: int = 0
    bytes_lost: int = 0
    revoked: dict[int, int] = field(default_factory=dict)
    """HTTP status → how often a revoked key was answered it."""
    limited: dict[int, int] = field(default_factory=dict)
    """The same of an account with a limit."""


def figures_of(history: Sequence[Record], evidence: Evidence) -> Figures:
    """The figures of one campaign. A call again is explained when its request was taken up again, or failed over."""
    calls = [one for one in history if isinstance(one, Call)]
    faults = [one for one in history if isinstance(one, Broken)]
    gates = [one for one in history if isinstance(one, Gate)]
    requests_of: defaultdict[str, set[str]] = defaultdict(set)
    for call in calls:
        requests_of[call.question].update(call.promised)
    attempts = {live.request: max(live.attempts, default=1) for live in evidence.live}
    within = {end.request: max(1, end.calls) for end in evidence.terminals}
    repeated = unexplained = 0
    for question, count in evidence.asked.items():
        requests = requests_of[question]
        may = sum(attempts.get(one, 1) - 1 + within.get(one, 1) for one in requests)
        repeated += max(0, count - max(1, len(requests)))
        if requests and count > may:
            unexplained += count - may
    return Figures(
        calls=len(calls),
        promised=len({request for call in calls for request in call.promised}),
        terminals=len(evidence.terminals),
        parked=len(evidence.parked),
        resumptions=sum(max(0, len(call.statuses) - 2) for call in calls if call.kind == "resumed"),
        restarts_seen=sum(frame.kind == "restarted" for call in calls for frame in call.frames),
        broken_streams=sum(call.kind == "stream" and bool(call.heard) for call in calls),
        provider_calls=sum(evidence.asked.values()),
        provider_calls_repeated=repeated,
        provider_calls_unexplained=unexplained,
        statuses=dict(sorted(Counter(status for call in calls for status in call.statuses).items())),
        faults=dict(Counter(one.fault for one in faults)),
        commands_hit=sum(one.held for one in faults),
        bytes_lost=sum(one.lost_bytes for one in faults),
        revoked=dict(sum((Counter(one.revoked) for one in gates), Counter())),
        limited=dict(sum((Counter(one.limited) for one in gates), Counter())),
    )
