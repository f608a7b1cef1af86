"""What a provider says of what it still allows us: the rate-limit headers of OpenAI's, Anthropic's and their like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_NAMES: Final = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)
"""(what is left, when it is full again)."""

_PIECE: Final = re.compile(r"([0-9.]+)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_UNKNOWN_S: Final = 1.0
"""Nothing is left, and it is not said for how long."""


def limited_s(headers: Mapping[str, str]) -> float | None:
    """For how many seconds nothing is left of one of the allowances; None where something is left of each."""
    waits = [_wait_s(headers.get(reset)) for left, reset in _NAMES if (headers.get(left) or "").strip() == "0"]
    return max(waits, default=None)


def _wait_s(reset: str | None) -> float:
    """`1s`, `6m0s`, `20ms`, plain seconds, or a time of day."""
    said = (reset or "").strip()
    try:
        if pieces := _PIECE.findall(said):
            return sum(float(number) * _SECONDS[unit] for number, unit in pieces)
        if "T" in said:
            return max(0.0, (datetime.fromisoformat(said) - datetime.now(UTC)).total_seconds())
        return max(0.0, float(said))
    except (ValueError, TypeError):  # a time without a zone cannot be compared
        return _UNKNOWN_S
