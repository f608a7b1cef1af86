"""What each tier may ask for."""

from __future__ import annotations

from typing import get_args

import pytest

from events.completions import Tier
from handlers.rules.admission import TIERS, Limits, limits_for


def test_every_tier_has_limits() -> None:
    assert set(TIERS) == set(get_args(Tier))


@pytest.mark.parametrize(
    ("tier", "override", "connections", "limits"),
    [
        ("free", None, None, Limits(10, 10, 10)),
        ("pro", None, None, Limits(1000, 1000, 100)),
        ("team", None, None, Limits(3000, 3000, 300)),
        ("enterprise", None, None, Limits(None, 0, None)),
        ("free", 60, None, Limits(60, 60, 10)),
        ("enterprise", 60, None, Limits(60, 60, None)),
        ("enterprise", None, 5, Limits(None, 0, 5)),
        ("free", 0, None, Limits(1, 1, 10)),
        ("free", -5, None, Limits(1, 1, 10)),
    ],
)
def test_a_keys_own_rate_and_the_operators_connections_come_before_the_tiers(
    tier: Tier, override: int | None, connections: int | None, limits: Limits
) -> None:
    assert limits_for(tier, override, connections) == limits
