"""What an account could save: by other models that can do the same, and by keeping answers. Reckoned from its own requests.

One rule: every saving says how many requests it was reckoned from. Few are called few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from events.message import NanoUsd
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.simulation import Used, cost_at, fits

Confidence = Literal["low", "medium", "high"]

QUALITY_MARGIN: Final = 5
"""A model that ranks so little lower counts as equally good: the ranks are coarser than that."""

MONTH_DAYS: Final = 30

_ENOUGH: Final = 30
_MANY: Final = 300
"""Below thirty requests one odd one sways the sum; from some hundreds on the mix of them settles."""
_WEEK_DAYS: Final = 7
"""Less than a week has seen no weekend or nothing else."""


@dataclass(frozen=True, slots=True)
class Spending:
    """One model as it is used now."""

    provider: str
    model: str
    requests: int
    cost_nanousd: NanoUsd
    monthly_nanousd: NanoUsd


@dataclass(frozen=True, slots=True)
class Switch:
    """A cheaper model for all requests of one."""

    provider: str
    model: str
    requests: int
    to: Offer
    cost_nanousd: NanoUsd
    then_nanousd: NanoUsd
    monthly_saving_nanousd: NanoUsd
    confidence: Confidence


def monthly(nanousd: int, days: float) -> int:
    """What was spent in so many days → in a month of them."""
    return round(nanousd * MONTH_DAYS / max(days, 1.0))


def confidence(requests: int, days: float) -> Confidence:
    """How far a sum over so many requests in so many days may be trusted."""
    if requests < _ENOUGH:
        return "low"
    return "high" if requests >= _MANY and days >= _WEEK_DAYS else "medium"


def spending(used: Sequence[Used], days: float) -> list[Spending]:
    """By model, the dearest first."""
    found = []
    for (provider, model), group in _by_model(used).items():
        cost = sum(one.cost_nanousd for one in group)
        found.append(Spending(provider, model, sum(one.requests for one in group), cost, monthly(cost, days)))
    return sorted(found, key=lambda one: (-one.cost_nanousd, one.provider, one.model))


def switches(used: Sequence[Used], catalogue: Catalogue, days: float) -> list[Switch]:
    """For each model that is used, the cheapest one that can do the same and ranks about as high, where one is cheaper.

    Of a model that is offered no more nothing is known, so nothing is said.
    """
    found = []
    for (provider, model), group in _by_model(used).items():
        now = next(iter(catalogue.find(f"{provider}/{model}")), None)
        if now is None:
            continue
        cost = sum(one.cost_nanousd for one in group)
        sums = {offer.id: (sum(cost_at(one, offer) for one in group), offer) for offer in _like(now, group, catalogue)}
        then, to = min(sums.values(), key=lambda sum_: (sum_[0], sum_[1].id), default=(cost, now))
        if then < cost:
            requests = sum(one.requests for one in group)
            saving = monthly(cost - then, days)
            found.append(Switch(provider, model, requests, to, cost, then, saving, confidence(requests, days)))
    return sorted(found, key=lambda one: (-one.monthly_saving_nanousd, one.provider, one.model))


def _like(now: Offer, group: Sequence[Used], catalogue: Catalogue) -> list[Offer]:
    """Offers that could take every one of these requests. Embeddings of another model are no embeddings of this one."""
    return [
        offer
        for offer in catalogue
        if offer.id != now.id
        and offer.kind == now.kind == "chat"
        and offer.auto  # its rank is somebody's word; that of a special model is only a default
        and offer.simulated == now.simulated
        and offer.capabilities >= now.capabilities
        and offer.quality >= now.quality - QUALITY_MARGIN
        and all(fits(one, offer) for one in group)
    ]


def _by_model(used: Sequence[Used]) -> dict[tuple[str, str], list[Used]]:
    groups = defaultdict(list)
    for one in used:
        groups[one.provider, one.model].append(one)
    return groups
