"""Which offer answers a completion, and which stands behind it: the whole decision, in the order it is taken.

One rule: pure. What is known, what time it is and what chance says are arguments, and every offer that is not asked is
told why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from events.completions import Optimize, PassedOver, Policy, Tier, Wire
from handlers.rules import ranking
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.circuit import Circuit, provider_key
from handlers.rules.failure import PAUSE_S_MAX, FailureKind
from handlers.rules.needs import NONE, Needs, unmet
from handlers.rules.standing import NOTHING_KNOWN, Picture

CANDIDATES_MAX: Final = 4
"""A client waits through at most this many providers; more would outlast its patience."""

OF_EACH_NAME_MAX: Final = 2
"""Where the account has a chain of models, so that its later names are reached."""

PASSED_OVER_MAX: Final = 16
"""Told in the event; `auto` may pass over a hundred."""

QUICK: Final = frozenset({"connect", "overloaded", "server_error", "garbled", "cut", "not_found"})
"""Kinds of failure that cost a client no patience."""

_STIR: Final = 997.0
"""Makes of one chance another, so that who is asked does not settle with which key."""

TIERS: Final[Sequence[Tier]] = ("free", "pro", "team", "enterprise")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the router for one request."""

    model: str
    """As the client named it."""
    wire: Wire = "openai"
    tier: Tier = "free"
    optimize: Optimize | None = None
    policy: Policy | None = None
    needs: Needs = NONE

    @property
    def chain(self) -> tuple[str, ...]:
        return (self.policy and self.policy.chain) or (self.model,)


@dataclass(frozen=True, slots=True)
class Tried:
    """What has been asked for this request already, and may not be asked again."""

    offers: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    """`provider#key`."""
    keys_of_offers: frozenset[tuple[str, int]] = frozenset()
    larger_than: int | None = None
    """Only windows of more tokens than this."""
    behind: int = -1
    """Only names of the chain behind this place."""


UNTRIED: Final = Tried()


@dataclass(frozen=True, slots=True)
class Target:
    """One offer, to be asked with one of its provider's keys."""

    offer: Offer
    key: int = 0
    name: str = ""
    """The name of the chain that it stands for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to ask, best first, and why in that order."""

    candidates: Sequence[Target]
    reason: str
    passed_over: Sequence[PassedOver] = ()
    nobody: FailureKind | None = None
    """Why there are no candidates."""
    free_in_s: float | None = None
    """When the first of those that rest may be asked again; only where there are no candidates."""
    worth_waiting: bool = False
    """The wait is short, and its end was told by the provider."""


_Named = tuple[str, Sequence[Offer]]
"""A name of the chain, and the offers that it stands for."""


@dataclass(slots=True)
class _Sieve:
    """What falls through, with the reason."""

    passed_over: list[PassedOver] = field(default_factory=list)
    resting: list[tuple[Target, Circuit]] = field(default_factory=list)

    def drop(self, offer: Offer, why: str) -> None:
        if len(self.passed_over) < PASSED_OVER_MAX:
            self.passed_over.append(PassedOver(offer=offer.id, why=why))


def route(
    catalogue: Catalogue,
    wanted: Wanted,
    picture: Picture = NOTHING_KNOWN,
    *,
    tried: Tried = UNTRIED,
    chance: float = 0.0,
) -> Plan:
    """The offers to ask, best first.

    1. What the client named stands for offers; an account's chain is a row of such names.
    2. What may not be asked, for its kind, the tier or the account's policy, is out for good.
    3. What cannot serve the question is out, unless that leaves nobody: we may know too little of the models.
    4. What rests is out. When that leaves nobody, the best of those that fail quickly is asked all the same.
    5. The rest is ranked by price, speed or quality, or spread by weight.
    """
    sieve, candidates, reasons, known = _Sieve(), list[Target](), list[str](), False
    of_each = CANDIDATES_MAX if len(wanted.chain) == 1 else OF_EACH_NAME_MAX
    named: list[_Named] = []
    for place, name in enumerate(wanted.chain):
        found = [offer for offer in catalogue.find(name) if offer.id not in tried.offers]
        known = known or bool(found)
        named.append((name, [offer for offer in found if not _forbidden(offer, wanted, tried, place, sieve)]))
    for name, able in _able(named, wanted.needs, sieve):
        ranked, reason = ranking.rank(able, wanted.optimize, name, wanted.needs, picture.speeds, chance)
        awake = [target for offer in ranked if (target := _awake(offer, name, picture, tried, sieve, chance))]
        seen = {target.offer.id for target in candidates}
        candidates += [target for target in awake if target.offer.id not in seen][:of_each]
        reasons += [reason] if awake else []
    if not candidates and tried is UNTRIED and (all_the_same := _least_bad(sieve)):
        return Plan(all_the_same, "everyone rests; this one fails quickly at worst", sieve.passed_over)
    reason = reasons[0] if reasons else f"nobody offers {wanted.model}" if not known else "nobody may be asked"
    if len(wanted.chain) > 1:
        reason = f"{reason}; then the account's chain {' → '.join(wanted.chain)}"
    return _plan(candidates[:CANDIDATES_MAX], reason, sieve, known, picture)


def _forbidden(offer: Offer, wanted: Wanted, tried: Tried, place: int, sieve: _Sieve) -> bool:
    """Whether it may not be asked, whatever it can."""
    policy, why = wanted.policy, None
    if (wanted.wire == "embeddings") != (offer.kind == "embedding"):
        why = f"{offer.kind} only"
    elif TIERS.index(wanted.tier) < TIERS.index(offer.tier):
        why = f"from tier {offer.tier} on"
    elif policy is not None and policy.only and offer.provider not in policy.only:
        why = "not among the account's providers"
    elif policy is not None and offer.provider in policy.never:
        why = "a provider the account never asks"
    elif tried.larger_than is not None and (offer.context_window or 0) <= tried.larger_than:
        why = "its window is no larger"
    elif place <= tried.behind:
        why = "the question was refused, and the account's chain names no other for it"
    if why is not None:
        sieve.drop(offer, why)
    return why is not None


def _able(named: Sequence[_Named], needs: Needs, sieve: _Sieve) -> Sequence[_Named]:
    """Without those that cannot serve the question; all of them where nobody can, as far as we know."""
    if needs is NONE or sum(len(allowed) for _, allowed in named) < 2:
        return named
    judged = [(name, [(offer, unmet(needs, offer)) for offer in allowed]) for name, allowed in named]
    if not any(why is None for _, offers in judged for _, why in offers):
        return named
    for _, offers in judged:
        for offer, why in offers:
            if why is not None:
                sieve.drop(offer, why)
    return [(name, [offer for offer, why in offers if why is None]) for name, offers in judged]


def _awake(offer: Offer, name: str, picture: Picture, tried: Tried, sieve: _Sieve, chance: float) -> Target | None:
    """The offer with one of its keys, drawn by weight among those that may be asked."""
    if len(offer.keys) == 1 and not picture.circuits and tried is UNTRIED:
        return Target(offer, 0, name)  # nearly every request of nearly everybody
    keys = [
        key
        for key in range(len(offer.keys))
        if (offer.id, key) not in tried.keys_of_offers and provider_key(offer.provider, key) not in tried.keys
    ]
    rests = {key: rest for key in keys if (rest := picture.resting(offer, key))}
    free = [key for key in keys if key not in rests]
    if free:
        drawn = ranking.drawn([offer.keys[key] for key in free], chance * _STIR % 1.0)
        return Target(offer, free[drawn], name)
    if rests:
        key, (_, circuit) = min(rests.items(), key=lambda rest: rest[1][1].until)
        sieve.resting.append((Target(offer, key, name), circuit))
        sieve.drop(offer, f"cooling down after {circuit.why}, {max(0.0, circuit.until - picture.now):.1f} s left")
    return None


def _least_bad(sieve: _Sieve) -> Sequence[Target]:
    """Of those that rest, the best ranked that fails quickly: it is asked once, for there is nobody else. What hangs, has
    said when it may be asked, or has refused our key is not."""
    for target, circuit in sieve.resting:
        if circuit.probes and circuit.why in QUICK:
            return (target,)
    return ()


def _plan(candidates: Sequence[Target], reason: str, sieve: _Sieve, known: bool, picture: Picture) -> Plan:
    if candidates:
        return Plan(tuple(candidates), reason, tuple(sieve.passed_over))
    if not sieve.resting:
        return Plan((), reason, tuple(sieve.passed_over), "not_allowed" if known else "not_found")
    first = min((circuit for _, circuit in sieve.resting), key=lambda circuit: circuit.until)
    limited = all(circuit.why == "rate_limited" for _, circuit in sieve.resting)
    free_in_s = max(0.5, first.until - picture.now)
    worth_waiting = not first.probes and first.openings == 1 and free_in_s <= PAUSE_S_MAX
    nobody: FailureKind = "rate_limited" if limited else "cooling_down"
    return Plan((), "everyone rests", tuple(sieve.passed_over), nobody, free_in_s, worth_waiting)
