"""Which offer answers a completion, and which stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from events.completions import Optimize
from handlers.rules.catalogue import Catalogue, Offer

CANDIDATES_MAX = 4
"""A client waits through at most this many providers; more would outlast its patience."""

_SLOWEST_MS = 1e9
"""An offer nobody has measured yet ranks behind every measured one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The offers to try, best first, and why in that order."""

    candidates: Sequence[Offer]
    reason: str


def route(
    catalogue: Catalogue,
    model: str,
    *,
    optimize: Optimize | None = None,
    ttft_ms: Mapping[str, float] | None = None,
    chance: float = 0.0,
) -> Plan:
    """Rank the offers that a model name stands for.

    `ttft_ms` maps an offer's id to its measured time to first token; `chance` in [0, 1) spreads equal offers by weight.
    An empty plan means that nobody offers the model.
    """
    offers = catalogue.find(model)
    if len(offers) <= 1:
        return Plan(offers, f"only {offers[0].provider} offers {model}" if offers else f"nobody offers {model}")
    wish = optimize or ("cost" if model == "auto" else None)
    if wish == "cost":
        ranked, reason = sorted(offers, key=_price), "lowest price"
    elif wish == "quality":
        ranked, reason = sorted(offers, key=lambda offer: (-offer.quality, _price(offer))), "highest quality"
    elif wish == "speed":
        known = ttft_ms or {}
        ranked = sorted(offers, key=lambda offer: (known.get(offer.id, _SLOWEST_MS), _price(offer)))
        reason = "shortest time to first token measured here"
    else:
        ranked, reason = _spread(offers, chance), "spread by weight"
    return Plan(tuple(ranked[:CANDIDATES_MAX]), reason)


def _price(offer: Offer) -> tuple[int, str]:
    """A thousand tokens in, a quarter of that out: the shape of an ordinary question; the id breaks a tie."""
    return (4 * offer.price.input + offer.price.output if offer.price else 0), offer.id


def _spread(offers: Sequence[Offer], chance: float) -> list[Offer]:
    """The offer whose share of the weights holds `chance` comes first; the others follow as they stand."""
    mark = chance * sum(offer.weight for offer in offers)
    for at, offer in enumerate(offers):
        mark -= offer.weight
        if mark < 0:
            return [offer, *offers[:at], *offers[at + 1 :]]
    return list(offers)
