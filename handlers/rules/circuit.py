"""When a provider is left alone for a while, and how it comes back: a state machine, its thresholds a table.

                    too many of the latest calls failed, or it said when
      healthy ────────────────────────────────────────────────────────────▶ cooling down ◀──────┐
         ▲                                                                       │ its time is up  │ the probe failed:
         │     two calls answered                                                ▼                 │ twice as long
         └─────────────────────────────────────────────────────────────────── probing ────────────┘
               (at once, where it had said when)

One rule: what a client did wrong says nothing about a provider. Times are seconds since 1970 and always arguments.

A circuit stands for one of three things, named by a text: `provider/model`, one key of a provider (`provider#1`), or
one key for one model (`provider/model#1`), which is what providers limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

State = Literal["healthy", "cooling_down", "probing"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls that ended in some stretch of time."""

    calls: int = 0
    failures: int = 0
    """Of the calls; only those that count against the provider."""
    lost_s: float = 0.0
    """How long clients waited for the failures."""


@dataclass(frozen=True, slots=True)
class Window:
    """Opens when the calls of the latest `seconds` are at least so many and at least this share of them failed."""

    seconds: int
    calls: int
    share: float
    lost_s: float = 0.0


WINDOWS: Final = (
    # Half of all calls fail: seen at once where there is much traffic, and within seconds where there is some. With fewer
    # calls, chance would do it.
    Window(4, calls=12, share=0.4),
    Window(10, calls=10, share=0.4),
    # Nearly all fail, in a trickle of calls.
    Window(60, calls=10, share=0.9),
    # Each call hangs: the third client need not find out for itself.
    Window(60, calls=2, share=0.9, lost_s=30.0),
)

COOLING_S: Final = 2.0
"""The first rest. Each probe that fails doubles it."""

COOLING_S_MAX: Final = 8.0
"""So a provider that has healed has its traffic back within ten seconds; a probe every eight hurts nobody."""

HANGING_S_MAX: Final = 60.0
"""The same for one that hangs: there each probe costs a client its patience."""

KEY_COOLING_S: Final = 30.0
"""A key that was refused; a person has to do something about it."""

KEY_COOLING_S_MAX: Final = 600.0

RESTING_S_MAX: Final = 60.0
"""For so long a provider is believed at a time; then a call finds out whether it still holds. Limits are by the minute, and
one call a minute does not disturb one that is by the day."""

ANSWERS_TO_CLOSE: Final = 2
"""One answer may be luck."""

REMEMBERED_S: Final = 60.0
"""What opens again within this time after it closed rests longer than the first time."""

HANGING: Final = "timeout"


@dataclass(frozen=True, slots=True)
class Circuit:
    """How one thing stands since it last changed. What has no circuit is healthy."""

    cooling: bool
    """Whether it rests or is probed; False: it was, and is healthy again."""
    since: float
    """When it began to rest, or closed."""
    until: float
    """When it may be asked again."""
    why: str
    """The kind of failure."""
    openings: int = 1
    """Rests in a row; each is longer."""
    answers: int = 0
    """Heard since it opened."""
    probes: bool = True
    """Whether it must prove itself when its time is up; False where the provider itself said when."""


def offer_key(offer: str, key: int) -> str:
    """One key for one model: `provider/model#1`."""
    return f"{offer}#{key}"


def provider_key(provider: str, key: int) -> str:
    """One key of a provider: `provider#1`."""
    return f"{provider}#{key}"


def state(circuit: Circuit | None, now: float) -> State:
    if circuit is None or not circuit.cooling or (now >= circuit.until and not circuit.probes):
        return "healthy"
    return "probing" if now >= circuit.until else "cooling_down"


def counted_from(circuit: Circuit | None, window: Window, now: float) -> float:
    """From when on calls count: what happened before a circuit closed has been paid for."""
    return max(now - window.seconds, circuit.since if circuit else 0.0)


def judged(circuit: Circuit | None, tallies: Iterable[tuple[Window, Tally]], why: str, now: float) -> Circuit | None:
    """A call failed, the latest of these tallies → the opened circuit, or None where it stays as it is."""
    if circuit is not None and circuit.cooling:
        return None
    for window, tally in tallies:
        failed_enough = tally.calls >= window.calls and tally.failures >= window.share * tally.calls
        if failed_enough and tally.lost_s >= window.lost_s:
            return _opened(circuit, why, now, _cooling(why))
    return None


def rested(circuit: Circuit | None, for_s: float, why: str, now: float) -> Circuit:
    """The provider said for how long: until then, and then as if nothing had been."""
    until = now + min(for_s, RESTING_S_MAX)
    if circuit is not None and now < circuit.until:  # calls that were under way hear the same again
        return circuit if until <= circuit.until else replace(circuit, until=until)
    openings = circuit.openings + 1 if circuit is not None and now - circuit.until < COOLING_S_MAX else 1
    return Circuit(True, now, until, why, openings, probes=False)


def refused(circuit: Circuit | None, why: str, now: float) -> Circuit:
    """A key was refused: it rests at once, for one refusal is as sure as ten."""
    if circuit is not None and circuit.cooling and now < circuit.until:
        return circuit
    return _opened(circuit, why, now, (KEY_COOLING_S, KEY_COOLING_S_MAX))


def answered(circuit: Circuit, began: float, now: float) -> Circuit:
    """A call that began after the circuit opened was answered."""
    if not circuit.cooling or began < circuit.since:
        return circuit
    if not circuit.probes:
        return circuit
    answers = circuit.answers + 1
    if answers >= ANSWERS_TO_CLOSE:
        return replace(circuit, cooling=False, since=now, until=now, answers=answers)
    return replace(circuit, answers=answers, until=now)


def probe_failed(circuit: Circuit, why: str, now: float) -> Circuit:
    """Twice as long as before."""
    return _opened(circuit, why, now, _cooling(why))


def forgettable(circuit: Circuit, now: float) -> bool:
    """Whether nothing of it matters any more."""
    over = circuit.until if circuit.cooling and not circuit.probes else None
    closed = None if circuit.cooling else circuit.since
    ended = over if over is not None else closed
    return ended is not None and now - ended > REMEMBERED_S


def _cooling(why: str) -> tuple[float, float]:
    return COOLING_S, HANGING_S_MAX if why == HANGING else COOLING_S_MAX


def _opened(circuit: Circuit | None, why: str, now: float, cooling: tuple[float, float]) -> Circuit:
    again = circuit is not None and (circuit.cooling or now - circuit.since < REMEMBERED_S)
    openings = circuit.openings + 1 if circuit is not None and again else 1
    first_s, most_s = cooling
    since = circuit.since if circuit is not None and circuit.cooling else now
    return Circuit(True, since, now + min(first_s * 2.0 ** min(openings - 1, 10), most_s), why, openings)
