"""How much may be put away before a worker doubts itself."""

from __future__ import annotations

import pytest

from app.parking import ENDED_A_PARKED, PARKED_MAX, Parking


def put_away(parking: Parking, times: int) -> int:
    """How many of so many in a row are borne."""
    return sum(parking.one_more() for _ in range(times))


def test_so_many_in_a_row_are_borne_and_not_one_more() -> None:
    assert put_away(Parking(), 10 * PARKED_MAX) == PARKED_MAX


def test_who_has_borne_all_there_is_must_carry_out_many_before_the_next() -> None:
    parking = Parking()
    put_away(parking, PARKED_MAX)
    for _ in range(ENDED_A_PARKED - 1):
        parking.ended()
    assert not parking.one_more()
    parking.ended()
    assert parking.one_more()
    assert not parking.one_more()


@pytest.mark.parametrize(
    ("ended_between", "borne"), [(ENDED_A_PARKED, True), (ENDED_A_PARKED - 1, False), (3, False), (0, False)]
)
def test_a_share_of_two_in_a_hundred_is_borne_for_ever_and_a_larger_one_is_not(ended_between: int, borne: bool) -> None:
    parking = Parking()
    told = []
    for _ in range(5000):
        told.append(parking.one_more())
        for _ in range(ended_between):
            parking.ended()
    assert all(told) is borne


def test_what_went_well_long_ago_allows_no_more_today() -> None:
    parking = Parking()
    for _ in range(1_000_000):
        parking.ended()
    assert put_away(parking, 1000) == PARKED_MAX
