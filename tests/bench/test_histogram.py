"""The histogram keeps one percent, and loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.histogram import Histogram

durations_s = st.floats(min_value=2e-6, max_value=3000, allow_nan=False)


def of(*durations: float) -> Histogram:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    return histogram


@given(durations_s)
def test_a_single_duration_is_known_to_one_percent(duration_s: float) -> None:
    assert of(duration_s).quantile_ms(0.5) == pytest.approx(duration_s * 1000, rel=0.011)


@given(st.lists(durations_s, min_size=1), st.lists(durations_s))
def test_two_histograms_add_up(first: list[float], second: list[float]) -> None:
    assert Histogram.merged([of(*first), of(*second)]).buckets == of(*first, *second).buckets


def test_a_quantile_is_not_exceeded_by_its_share() -> None:
    hundred = of(*(number / 1000 for number in range(1, 101)))
    assert hundred.quantile_ms(0.5) == pytest.approx(50, rel=0.011)
    assert hundred.quantile_ms(0.99) == pytest.approx(99, rel=0.011)
    assert hundred.quantile_ms(1) == pytest.approx(100, rel=0.011)


def test_nothing_measured_has_no_quantile() -> None:
    assert Histogram().quantile_ms(0.5) is None


def test_what_is_out_of_range_is_counted_all_the_same() -> None:
    assert of(0, -1, 1e9).count == 3
