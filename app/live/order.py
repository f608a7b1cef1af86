"""The order of frames: which one comes next, which is old, which is missing. Pure.

An attempt's frames are numbered from 1 without a gap; a later attempt voids all that came before it. A frozen worker
that wakes may still append frames of its old attempt: they are skipped, so two attempts' words are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.log.values import Frame

Verdict = Literal["take", "restarted", "skip", "missing"]


@dataclass(slots=True)
class Order:
    """Where one listener stands."""

    attempt: int = 0
    number: int = 0

    def judge(self, frame: Frame) -> Verdict:
        """`take` it; or it tells that all taken before is void (`restarted`: nothing else in it, unless it is a delta
        or an end, which is then to be taken too); `skip` it; or frames before it are `missing` and must be read first.
        """
        if frame.attempt < self.attempt:
            return "skip"
        if frame.attempt > self.attempt:
            void = self.number > 0
            if frame.number > 1:
                return "missing"
            self.attempt, self.number = frame.attempt, frame.number
            if void:
                return "restarted"
            return "skip" if frame.kind == "r" else "take"
        if frame.number <= self.number:
            return "skip"
        if frame.number > self.number + 1:
            return "missing"
        self.number = frame.number
        return "take"
