"""Calls counted in small stretches of time: sums that any number of workers can add to, in any order.

One rule: integers only, so that what two workers add is the same as what one adds twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from handlers.rules.circuit import WINDOWS, Circuit, Tally, Window, counted_from
from handlers.rules.failure import CONSEQUENCES
from handlers.rules.standing import Call, Speed

STRETCH_S: Final = 2
"""One stretch: short enough that a window of ten seconds has five."""

KEPT: Final = 30
"""Stretches that are looked at: the longest window."""

HALF_LIFE_S: Final = 3.0
"""After so long a measurement counts half: what is slow is known within seconds, and so is that it has healed."""

_STEPS: Final = 4
"""Of the histograms, for each doubling: a quantile is right to within a tenth."""

Cells = Counter[str]
"""`calls`, `failed` and `lost_ms`; `ttft_ms` of `ttfts` streamed answers; `writing_ms` for `tokens`; histograms in
`l<step>` (the whole call) and `t<step>` (to the first word)."""

Stretches = Mapping[int, Mapping[str, Cells]]
"""Number of the stretch since 1970 → offer's id → its cells."""


def stretch_of(now: float) -> int:
    return int(now // STRETCH_S)


def counts_against(call: Call) -> bool:
    """Whether the call failed through the provider's doing; one that was told when to come again is not a failure."""
    if call.failed is None:
        return False
    blames = CONSEQUENCES[call.failed].blames
    return blames == "offer" or (blames == "limit" and call.rests_s is None)


def count(call: Call, cells: Cells) -> None:
    """Add one call to the cells of its offer. On the hot road: it makes nothing new."""
    cells["calls"] += 1
    took_ms = call.took_s * 1000
    if call.failed is not None:
        if counts_against(call):
            cells["failed"] += 1
            cells["lost_ms"] += round(took_ms)
        return
    cells[f"l{_step(took_ms)}"] += 1
    ttft_ms = call.ttft_ms
    if ttft_ms is not None:
        cells["ttft_ms"] += round(ttft_ms)
        cells["ttfts"] += 1
        cells[f"t{_step(ttft_ms)}"] += 1
        took_ms -= ttft_ms
    if call.output_tokens:
        cells["writing_ms"] += max(1, round(took_ms))
        cells["tokens"] += call.output_tokens


def tallies(
    stretches: Iterable[Stretches], offer: str, circuit: Circuit | None, now: float
) -> list[tuple[Window, Tally]]:
    """What the windows of this offer's circuit hold."""
    found = []
    for window in WINDOWS:
        first = stretch_of(counted_from(circuit, window, now)) + 1
        sums = summed(stretches, offer, first)
        found.append((window, Tally(sums["calls"], sums["failed"], sums["lost_ms"] / 1000)))
    return found


def summed(stretches: Iterable[Stretches], offer: str, first: int = 0) -> Cells:
    """All cells of an offer from the stretch `first` on."""
    sums: Cells = Counter()
    for each in stretches:
        for number, offers in each.items():
            if number >= first and (cells := offers.get(offer)):
                sums.update(cells)
    return sums


def speeds(stretches: Stretches, now: float) -> dict[str, Speed]:
    """Offer → how fast it has been, newer measurements counting more."""
    faded: dict[str, list[float]] = {}
    for number, offers in stretches.items():
        weight = 0.5 ** (max(0.0, now - number * STRETCH_S) / HALF_LIFE_S)
        for offer, cells in offers.items():
            if not (cells["ttfts"] or cells["tokens"]):
                continue
            sums = faded.setdefault(offer, [0.0, 0.0, 0.0, 0.0])
            for at, cell in enumerate(("ttft_ms", "ttfts", "writing_ms", "tokens")):
                sums[at] += weight * cells[cell]
    return {offer: Speed(_ratio(sums[0], sums[1]), _ratio(sums[2], sums[3])) for offer, sums in faded.items()}


def quantile(cells: Cells, of: str, share: float) -> int | None:
    """The `share` quantile of the histogram `l` or `t` in milliseconds; None where nothing was measured."""
    steps = sorted((int(name[1:]), count) for name, count in cells.items() if name[0] == of and name[1:].isdigit())
    left = share * sum(count for _, count in steps)
    for step, count in steps:
        left -= count
        if left <= 0:
            return round(math.exp2((step + 0.5) / _STEPS))
    return None


def _step(ms: float) -> int:
    return int(math.log2(max(1.0, ms)) * _STEPS)


def _ratio(sum_: float, count: float) -> float:
    return sum_ / count if count else 0.0
