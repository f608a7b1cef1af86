"""The tiers as this installation has them: those of the code, but for what the operator's file says.

One rule: a file that makes no sense stops the process with one line that names the fault.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast, get_args

from events.completions import Tier
from handlers.rules.admission import NAMES, TIERS, Limits, changed

NO_LIMIT: Final = "none"
"""TOML has no empty value."""


def load_tiers(file: Path | None) -> Mapping[Tier, Limits]:
    """`[team]` and below it `requests_a_minute = 5000`, or `= "none"`. Raises ValueError with one line."""
    if file is None:
        return TIERS
    try:
        said = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ValueError(f"HELIX_TIERS: {fault}") from None
    tiers = dict(TIERS)
    for tier, limits in said.items():
        if tier not in get_args(Tier) or not isinstance(limits, dict):
            raise ValueError(f"HELIX_TIERS: there is no tier {tier!r}")
        known = cast(Tier, tier)
        tiers[known] = changed(tiers[known], tuple((name, limit_of(name, most)) for name, most in limits.items()))
    return tiers


def limit_of(name: str, most: object) -> int | None:
    """Raises ValueError with one line for a name that is no limit, and for what is no number above nothing."""
    if name not in NAMES:
        raise ValueError(f"there is no limit {name!r}; there are {', '.join(NAMES)}")
    if most == NO_LIMIT:
        return None
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ValueError(f"{name} is a whole number above nothing, or {NO_LIMIT!r}")
    return most
