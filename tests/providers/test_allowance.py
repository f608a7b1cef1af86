"""What providers say of what they still allow us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.providers.allowance import limited_s

OPENAI = "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"


@pytest.mark.parametrize(
    ("left", "reset", "seconds"),
    [
        ("59", "1s", None),
        ("0", "1s", 1.0),
        ("0", "6m0s", 360.0),
        ("0", "1h2m3s", 3723.0),
        ("0", "20ms", 0.02),
        ("0", "7", 7.0),
        ("0", "soon", 1.0),
        ("0", None, 1.0),
        ("0", "2020-01-01T00:00:00Z", 0.0),
        ("0", "2020-01-01T00:00:00", 1.0),
        ("none", "1s", None),
        (None, "1s", None),
    ],
)
def test_nothing_left_is_told_with_for_how_long(left: str | None, reset: str | None, seconds: float | None) -> None:
    said = {name: value for name, value in zip(OPENAI, (left, reset), strict=True) if value is not None}
    assert limited_s(said) == seconds


def test_the_longest_wait_counts_and_a_time_of_day_is_one() -> None:
    later = (datetime.now(UTC) + timedelta(seconds=90)).isoformat()
    said = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-reset": later,
    }
    seconds = limited_s(said)
    assert seconds is not None and 80 < seconds <= 90
