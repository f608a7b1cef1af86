"""How much of everything a run does. One rule: every load is bounded by a count and by a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    rounds: int
    plain: Mapping[str, int]
    """Target → questions of one closed loop; as many as take it some seconds."""
    bursts: Mapping[str, int]
    seconds_max: float
    """The limit in time of one closed loop."""
    paced_s: float
    streams: tuple[int, ...]
    """How many at once, rising; the first that fails ends it."""
    floor_s: float
    copies: int
    backlog: int
    """Events told again for the projection's and the replay's speed."""
    later: bool
    """Whether the cost of a request is measured once more behind that backlog: it should not have grown."""


FULL: Final = Scale(
    rounds=3,
    plain={"direct": 40_000, "echo": 10_000, "helix": 4_000, "litellm": 300},
    bursts={"direct": 6_000, "helix": 600, "litellm": 60},
    seconds_max=15.0,
    paced_s=5.0,
    streams=(100, 200, 400, 700, 1200),
    floor_s=1.0,
    copies=10,
    backlog=20_000,
    later=True,
)
QUICK: Final = Scale(
    rounds=1,
    plain={"direct": 20_000, "echo": 5_000, "helix": 1_500, "litellm": 150},
    bursts={"direct": 2_000, "helix": 150, "litellm": 30},
    seconds_max=5.0,
    paced_s=2.0,
    streams=(100,),
    floor_s=0.5,
    copies=4,
    backlog=5_000,
    later=False,
)
