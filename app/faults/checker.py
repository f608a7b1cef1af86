"""The verdict: the invariants I1 to I10 over history and evidence. Pure.

One rule: it believes no counter of Helix; it compares what clients were promised with what is written down.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.faults.evidence import Evidence
from app.faults.figures import Figures, figures_of
from app.faults.history import Call, Frame, Gate, Probe, Record

INVARIANTS: Final = {
    "I1": "every promised request has exactly one terminal event",
    "I2": "exactly one usage row for each billable terminal, none for the others",
    "I3": "the sum of usage is the sum over terminals, to the nano-dollar, and so is what was taken from each balance",
    "I4": "no place and no money is held by a request that has ended",
    "I5": "no attempt but the last writes an outcome",
    "I6": "nothing is left pending; what is parked was ended as parked",
    "I7": "every projection made anew equals the live one",
    "I8": "no request has two terminals, and one key no two requests",
    "I9": "nobody sees another account's requests, words or bills",
    "I10": "every change of state has an audit row",
    "G": "a revoked key opens nothing, and a limit lets nobody by",
    "T": "a client's text has no gap, no repeat and one attempt's words alone; the answer is whole",
}

WORD: Final = re.compile(r"(\w+)\.c(\d+)\.(\d+)")
"""A word of the campaign's provider: question, number of the call, place in the answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that was not kept."""

    invariant: str
    request: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker says."""

    findings: tuple[Finding, ...]
    figures: Figures

    @property
    def good(self) -> bool:
        return not self.findings

    def count(self, invariant: str) -> int:
        """How often this one was broken."""
        return sum(one.invariant == invariant for one in self.findings)


def check(history: Sequence[Record], evidence: Evidence) -> Verdict:
    """History and evidence of one campaign → its verdict."""
    calls = [one for one in history if isinstance(one, Call)]
    probes = [one for one in history if isinstance(one, Probe)]
    judges: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _promises(calls, evidence),
        lambda: _usage(evidence),
        lambda: _order(evidence),
        lambda: _left(evidence),
        lambda: _rebuilt(evidence),
        lambda: _apart(calls, probes, evidence),
        lambda: _audit(evidence),
        lambda: _texts(calls),
        lambda: _door(one for one in history if isinstance(one, Gate)),
    )
    findings = tuple(finding for judge in judges for finding in judge())
    return Verdict(findings, figures_of(history, evidence))


def _promises(calls: Iterable[Call], evidence: Evidence) -> Iterator[Finding]:
    """I1 and I8."""
    ends = Counter(one.request for one in evidence.terminals)
    outcomes = {one.request: one.outcome for one in evidence.terminals}
    for request, count in ends.items():
        if count > 1:
            yield Finding("I8", request, f"{count} terminal events")
    for call in calls:
        for request in call.promised:
            if ends[request] != 1:
                yield Finding("I1", request, f"promised to a {call.kind} client, {ends[request]} terminal events")
        if len(set(call.promised)) > 1:
            yield Finding("I8", call.promised[0], f"one {call.kind} question became {len(set(call.promised))} requests")
        if call.seen in ("missing", "unanswered"):
            yield Finding("I1", "".join(call.promised[:1]), f"a {call.kind} client's story ended as {call.seen}")
        told = outcomes.get(call.promised[0]) if call.promised else None
        if call.seen in ("completed", "failed", "cancelled") and told is not None and told != call.seen:
            yield Finding("I1", call.promised[0], f"a {call.kind} client was told {call.seen}, recorded is {told}")


def _usage(evidence: Evidence) -> Iterator[Finding]:
    """I2 and I3."""
    rows = Counter(row.event for row in evidence.usage)
    billed = Counter(row.request for row in evidence.usage)
    for end in evidence.terminals:
        if rows[end.event] != int(end.billable):
            kind = "billable" if end.billable else "not billable"
            yield Finding("I2", end.request, f"{kind}, {rows[end.event]} usage rows")
    known = {end.event for end in evidence.terminals}
    for row in evidence.usage:
        if row.event not in known:
            yield Finding("I2", row.request, "a usage row without a terminal event on the log")
    for request, count in billed.items():
        if count > 1:
            yield Finding("I2", request, f"{count} usage rows")
    charged = sum(row.cost_nanousd for row in evidence.usage)
    owed = sum(end.cost_nanousd for end in evidence.terminals if end.billable)
    if charged != owed:
        yield Finding("I3", "", f"usage has {charged} nano-dollars, the terminals {owed}")
    owes: Counter[str] = Counter()
    for end in evidence.terminals:
        owes[end.account] += end.cost_nanousd if end.billable else 0
    for purse in evidence.purses:
        if purse.spent_nanousd != owes[purse.account]:
            said = (
                f"{purse.spent_nanousd} nano-dollars of a balance are spent, the terminals have {owes[purse.account]}"
            )
            yield Finding("I3", "", said)


def _order(evidence: Evidence) -> Iterator[Finding]:
    """I5."""
    for live in evidence.live:
        newest = max(live.attempts, default=0)
        for end in live.ends:
            if end < newest:
                yield Finding("I5", live.request, f"attempt {end} said the last word although {newest} had begun")
        if len(live.ends) > 1:
            yield Finding("I5", live.request, f"{len(live.ends)} last words, of attempts {live.ends}")


def _left(evidence: Evidence) -> Iterator[Finding]:
    """I4 and I6."""
    if evidence.open_left:
        yield Finding("I4", "", f"{evidence.open_left} places are held after the drain")
    if evidence.holds_left:
        yield Finding("I4", "", f"{evidence.holds_left} reservations are left after the drain")
    for purse in evidence.purses:
        if purse.held_nanousd:
            yield Finding("I4", "", f"{purse.held_nanousd} nano-dollars of account {purse.account} are held")
    if not evidence.drained or evidence.pending_left or evidence.commands_left:
        left = f"{evidence.commands_left} commands, {evidence.pending_left} of them in a worker's hands"
        yield Finding("I6", "", f"left after the drain: {left}")
    given_up = {end.request for end in evidence.terminals if end.why == "parked"}
    letters = Counter(letter.request or "" for letter in evidence.parked)
    for request, count in letters.items():
        if request not in given_up or count > 1:
            yield Finding("I6", request, f"{count} dead letters, ended as parked: {request in given_up}")
    for request in given_up - set(letters):
        yield Finding("I6", request, "ended as parked without a dead letter")


def _rebuilt(evidence: Evidence) -> Iterator[Finding]:
    """I7, and that the projection `requests` has a row for each terminal."""
    for one in evidence.rebuilt:
        if not one.equal:
            yield Finding("I7", "", f"{one.projection} made anew differs: {one.note}")
    rows = Counter(row.event for row in evidence.requests)
    for end in evidence.terminals:
        if rows[end.event] != 1:
            yield Finding("I7", end.request, f"{rows[end.event]} rows in requests")


def _apart(calls: Iterable[Call], probes: Iterable[Probe], evidence: Evidence) -> Iterator[Finding]:
    """I9."""
    owner = {end.request: end.account for end in evidence.terminals}
    for row in (*evidence.usage, *evidence.requests):
        if owner.get(row.request, row.account) != row.account:
            yield Finding("I9", row.request, f"a row of account {row.account}, the event says {owner[row.request]}")
    for probe in probes:
        if probe.status != 404:
            yield Finding("I9", probe.request, f"another account was answered {probe.status}")
    for call in calls:
        for text in (*call.heard, call.final or "", *(frame.text for frame in call.frames)):
            strange = {found[1] for found in WORD.finditer(text)} - {call.question}
            if strange:
                yield Finding("I9", "".join(call.promised[:1]), f"words of {strange} in the answer to {call.question}")


def _audit(evidence: Evidence) -> Iterator[Finding]:
    """I10: a row for each state that somebody made so, one for each fact that tells of a change, and a chain that is whole."""
    rows = Counter(row.event for row in evidence.audit)
    kept = {(row.action, row.subject) for row in evidence.audit}
    for change in evidence.changed:
        if (change.action, change.subject) not in kept:
            yield Finding("I10", change.subject, f"no audit row says {change.action}")
    for event in evidence.told:
        if rows[event] != 1:
            yield Finding("I10", event, f"a change was told, {rows[event]} audit rows")
    for fault in evidence.chain:
        yield Finding("I10", "", f"the audit log's chain: {fault}")


def _door(gates: Iterable[Gate]) -> Iterator[Finding]:
    """G."""
    for gate in gates:
        for status, count in gate.revoked.items():
            if 200 <= status < 300:
                yield Finding("G", "", f"a revoked key was answered {status} {count} times")
        if gate.admitted > gate.allowed:
            yield Finding("G", "", f"{gate.admitted} requests were let in, the limit is {gate.allowed}")


def _texts(calls: Iterable[Call]) -> Iterator[Finding]:
    """T."""
    for call in calls:
        request = "".join(call.promised[:1])
        for text in call.heard:
            if fault := torn(text):
                yield Finding("T", request, f"a {call.kind} client heard: {fault}")
        for fault in _frames(call.frames):
            yield Finding("T", request, fault)
        if call.seen == "completed":
            fault = torn(call.final or "") or (
                None if len((call.final or "").split()) == call.words else "the answer is not whole"
            )
            if fault:
                yield Finding("T", request, f"the answer a {call.kind} client got: {fault}")
            last = _last_life(call.frames)
            if call.kind == "resumed" and last.split() != (call.final or "").split():
                yield Finding("T", request, f"followed to the end {last[:80]!r}, the answer is {call.final!r:.80}")


def torn(text: str) -> str | None:
    """Why this cannot be the beginning of one call's answer; None when it can."""
    words = text.split()
    found = [WORD.fullmatch(word) for word in words]
    whole = [one for one in found if one]
    if len(whole) != len(words):
        return f"a word in pieces: {text[:80]!r}"
    if len({(one[1], one[2]) for one in whole}) > 1:
        return f"words of several calls: {text[:80]!r}"
    if [int(one[3]) for one in whole] != list(range(len(whole))):
        return f"a gap or a repeat: {text[:80]!r}"
    return None


def _frames(frames: Sequence[Frame]) -> Iterator[str]:
    """Faults of a followed stream: ids that do not grow, lives that do not hang together."""
    ids = [position(frame.id) for frame in frames]
    for before, after in itertools.pairwise(ids):
        if after <= before:
            yield f"event {after} came behind {before}"
    lives: list[list[str]] = [[]]
    for frame in frames:
        if frame.kind == "restarted":
            lives.append([])
        lives[-1].append(frame.text)
    for life in lives:
        if fault := torn("".join(life)):
            yield f"one life of a followed stream: {fault}"


def _last_life(frames: Sequence[Frame]) -> str:
    words: list[str] = []
    for frame in frames:
        words = [] if frame.kind == "restarted" else [*words, frame.text]
    return "".join(words)


def position(id: str) -> tuple[int, int, int]:
    """`milliseconds-sequence[.piece]` in its order; an id without a piece stands behind the pieces of its frame."""
    entry, _, piece = id.partition(".")
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0), int(piece) if piece else 10**9
