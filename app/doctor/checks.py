"""The word of the doctor: one thing looked at, what was found, what to do. One rule: whatever is not good says what to mend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

Verdict = Literal["bad", "warning", "unknown", "good"]
WORST_FIRST: Final[tuple[Verdict, ...]] = ("bad", "warning", "unknown", "good")

CLOCK_S_MAX: Final = 2.0
"""Rates and ends of keys are judged by different clocks; a difference above this is seen by customers."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `mend` is empty where there is nothing to do."""

    name: str
    verdict: Verdict
    found: str
    mend: str = ""


def worst(verdicts: list[Verdict]) -> Verdict:
    return min(verdicts, key=WORST_FIRST.index, default="good")


def clock(name: str, theirs: datetime) -> Check:
    apart_s = abs((datetime.now(UTC) - theirs).total_seconds())
    if apart_s > CLOCK_S_MAX:
        return Check(f"{name} clock", "warning", f"{apart_s:.1f} s apart from ours", "synchronise the clocks (NTP)")
    return Check(f"{name} clock", "good", f"{apart_s:.1f} s apart from ours")


def numbers(of: list[int]) -> str:
    """`partition 3`, `partitions 0, 1, 4`; the first twelve of more."""
    shown = ", ".join(str(one) for one in of[:12]) + (f" and {len(of) - 12} more" if len(of) > 12 else "")
    return f"partition {shown}" if len(of) == 1 else f"partitions {shown}"
