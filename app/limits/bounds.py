"""What one key of one account is held to, decided once and remembered; and what one request asks for of it.

One rule: for whom neither tokens nor money are limited nothing is reckoned, and the same value is used again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from app.identity import Identity
from app.log.values import Limits as Asked
from app.log.values import Pace, Purse, pace
from handlers.rules.admission import Changes, Limits, limits_for
from handlers.rules.budgets import Budget, subjects_of, tightest
from handlers.rules.catalogue import Offer
from handlers.rules.reservation import Size, cost_at_most, tokens_expected

NO_BUDGETS: Final[tuple[Budget, ...]] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit on requests in a minute, and whose it is."""

    most: int
    whose: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one key is held to."""

    limits: Limits
    rates: tuple[Rate, ...]
    """As the paces of `asked`, in their order."""
    asked: Asked
    """But for what hangs on the single request."""
    tokens: Pace | None
    purses: tuple[Purse, ...]

    @property
    def reckons(self) -> bool:
        """Whether the size of a request matters."""
        return self.tokens is not None or bool(self.purses)

    def of(self, size: Size, offers: Iterable[Offer]) -> Asked:
        """What a request of this size asks for, which one of these offers may answer."""
        asked = self.asked
        if self.tokens is not None:
            cost = tokens_expected(size, self.tokens.burst)
            asked = replace(asked, tokens=replace(self.tokens, cost=cost))
        if self.purses and (most := cost_at_most(size, offers)):
            asked = replace(asked, purses=self.purses, reserve_nanousd=most)
        return asked


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the rows of one account say."""

    changes: Changes = ()
    """Limits of its own, instead of its tier's."""
    budgets: tuple[Budget, ...] = NO_BUDGETS
    _bounds: dict[tuple[object, ...], Bounds] = field(default_factory=dict, repr=False, compare=False)

    def bounds(self, identity: Identity, tier: Limits, max_connections: int | None) -> Bounds:
        """What this key is held to. `tier`: the limits of its tier."""
        # What `_made` looks at, and no more.
        rates = identity.rate_limit_override, identity.own_rate_limit
        who = identity.api_key_id, identity.counted_as, identity.person, identity.tier, rates
        known = self._bounds.get(who)
        if known is None:
            known = self._bounds[who] = self._made(identity, tier, max_connections)
        return known

    def _made(self, identity: Identity, tier: Limits, max_connections: int | None) -> Bounds:
        override, account = identity.rate_limit_override, identity.account
        limits = limits_for(tier, self.changes, override, max_connections)
        counter = identity.counted_as or identity.api_key_id
        rates, paces = [], []
        if limits.requests_a_minute:
            # A key with a rate from the operator is counted by itself; all others of an account together.
            whose = "account" if override is None else "key"
            rates.append(Rate(limits.requests_a_minute, whose))
            paces.append(pace(account if override is None else counter, limits.requests_a_minute))
        if own := identity.own_rate_limit:
            rates.append(Rate(own, "key"))
            paces.append(pace(f"own:{counter}", own))
        tokens = limits.tokens_a_minute
        return Bounds(
            limits=limits,
            rates=tuple(rates),
            asked=Asked(
                paces=tuple(paces),
                requests_a_day=limits.requests_a_day or 0,
                open_max=limits.concurrent or 0,
            ),
            tokens=pace(f"tokens:{account}", tokens) if tokens else None,
            purses=tuple(_purses(self.budgets, subjects_of(counter, person_of(identity)))),
        )


def person_of(identity: Identity) -> str | None:
    """Who of a team asks; None in one's own account, where all that is spent is his."""
    person = identity.person
    return None if person == identity.account else person


def _purses(budgets: Sequence[Budget], subjects: Sequence[str]) -> Iterable[Purse]:
    for subject in subjects:
        if any(one.subject == subject for one in budgets):
            yield Purse(
                subject,
                day=tightest(budgets, subject, "day"),
                month=tightest(budgets, subject, "month"),
                ever=tightest(budgets, subject, "ever"),
            )
