"""In which order offers that would all do are asked: by price, by speed, by quality, or spread by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from events.completions import Optimize
from handlers.rules.catalogue import Offer
from handlers.rules.needs import Needs
from handlers.rules.rating import STANDARD, fee_of, rates_of
from handlers.rules.standing import Speed

EXPLORED_SHARE: Final = 0.03
"""Of the requests that go to somebody else than the fastest known: what is never asked is never measured, and what has
healed would never be noticed."""

SLOW_TIMES: Final = 3.0
SLOW_MS: Final = 500.0
"""Among offers that are equal otherwise, one that is so many times slower than the fastest, and by so much, comes last."""

_UNMEASURED_MS: Final = 1e12
"""Behind everyone who has been measured."""

_MILLION: Final = 1_000_000

Ranked = tuple[Sequence[Offer], str]


def rank(
    offers: Sequence[Offer],
    optimize: Optimize | None,
    name: str,
    needs: Needs,
    speeds: Mapping[str, Speed],
    chance: float,
) -> Ranked:
    """The offers in order, and why in that order. Whoever leaves the choice of model to us and says no more wants it
    cheap. `chance` in [0, 1) spreads and explores."""
    if len(offers) <= 1:
        return offers, f"only {offers[0].provider} offers {name}" if offers else f"nobody offers {name}"
    match optimize or ("cost" if name == "auto" else None):
        case "cost":
            return _by_cost(offers, needs)
        case "quality":
            return sorted(offers, key=lambda offer: (-offer.quality, *_cost(offer, needs))), "highest quality"
        case "speed":
            return _by_speed(offers, needs, speeds, chance)
        case None:
            return _by_weight(offers, needs, speeds, chance)


def _by_cost(offers: Sequence[Offer], needs: Needs) -> Ranked:
    expected = f"{needs.input_tokens} tokens in and {needs.output_expected} out"
    return sorted(offers, key=lambda offer: _cost(offer, needs)), f"lowest price for about {expected}"


def _cost(offer: Offer, needs: Needs) -> tuple[int, str]:
    """What the question is likely to cost, in nano-dollars times a million tokens; the id breaks a tie."""
    price = offer.price
    if price is None:
        return 0, offer.id
    rates = rates_of(price, needs.input_tokens, STANDARD) if price.steps else price
    tokens = max(1, needs.input_tokens) * rates.input + needs.output_expected * rates.output
    return tokens + fee_of(price) * _MILLION, offer.id


def _by_speed(offers: Sequence[Offer], needs: Needs, speeds: Mapping[str, Speed], chance: float) -> Ranked:
    took = _expected_ms(offers, needs, speeds)
    ranked = sorted(offers, key=lambda offer: (took.get(offer.id, _UNMEASURED_MS), *_cost(offer, needs)))
    explored = _explored(chance)
    if explored is None:
        told = f", about {took[ranked[0].id]:.0f} ms" if took else "; nobody has been measured yet"
        return ranked, f"fastest measured here{told}"
    rest = [offer for offer in ranked[1:] if offer.id not in took] or ranked[1:]
    chosen = rest[int(explored * len(rest))]
    return [chosen, *(offer for offer in ranked if offer is not chosen)], "to measure its speed"


def _by_weight(offers: Sequence[Offer], needs: Needs, speeds: Mapping[str, Speed], chance: float) -> Ranked:
    """The offer whose share of the weights holds `chance` comes first; the others follow as they stand."""
    slow = _slow(offers, needs, speeds)
    if not slow:
        return _first(offers, drawn([offer.weight for offer in offers], chance)), "spread by weight"
    behind = [offer for offer in offers if offer.id in slow]
    brisk = [offer for offer in offers if offer.id not in slow]
    explored = _explored(chance)
    if explored is not None:
        chosen = behind[int(explored * len(behind))]
        return [chosen, *(offer for offer in offers if offer is not chosen)], "to measure whether it is still slow"
    spread = _first(brisk, drawn([offer.weight for offer in brisk], chance / (1.0 - EXPLORED_SHARE)))
    return [*spread, *behind], f"spread by weight; slow lately: {', '.join(sorted(slow))}"


def _slow(offers: Sequence[Offer], needs: Needs, speeds: Mapping[str, Speed]) -> frozenset[str]:
    took = _expected_ms(offers, needs, speeds)
    if len(took) < 2:
        return frozenset()
    best = min(took.values())
    return frozenset(id for id, ms in took.items() if ms > SLOW_TIMES * best and ms > best + SLOW_MS)


def _expected_ms(offers: Sequence[Offer], needs: Needs, speeds: Mapping[str, Speed]) -> dict[str, float]:
    measured = ((offer.id, speeds.get(offer.id)) for offer in offers) if speeds else ()
    return {id: speed.expected_ms(needs.output_expected) for id, speed in measured if speed is not None}


def _explored(chance: float) -> float | None:
    """Chance again, in [0, 1), where this request explores; None where it does not."""
    return (chance - 1.0 + EXPLORED_SHARE) / EXPLORED_SHARE if chance >= 1.0 - EXPLORED_SHARE else None


def drawn(weights: Sequence[int], chance: float) -> int:
    """The place whose share of the weights holds `chance`; the first where none has any weight."""
    mark = chance * sum(weights)
    for at, weight in enumerate(weights):
        mark -= weight
        if mark < 0:
            return at
    return 0


def _first(offers: Sequence[Offer], at: int) -> list[Offer]:
    return [offers[at], *offers[:at], *offers[at + 1 :]]
