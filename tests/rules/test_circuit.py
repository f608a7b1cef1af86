"""When a provider is left alone, and how it comes back: given a circuit and what was counted, then this circuit."""

from __future__ import annotations

import pytest

from handlers.rules.circuit import (
    COOLING_S,
    COOLING_S_MAX,
    HANGING_S_MAX,
    KEY_COOLING_S,
    REMEMBERED_S,
    RESTING_S_MAX,
    WINDOWS,
    Circuit,
    State,
    Tally,
    answered,
    counted_from,
    forgettable,
    judged,
    probe_failed,
    refused,
    rested,
    state,
)

NOW = 1000.0
SHORTEST, SHORT, LONG, HANGING = WINDOWS
COOLING = Circuit(True, since=NOW, until=NOW + COOLING_S, why="server_error")
CLOSED = Circuit(False, since=NOW, until=NOW, why="server_error", answers=2)


@pytest.mark.parametrize(
    ("window", "tally", "opens"),
    [
        (SHORTEST, Tally(12, 5), True),
        (SHORTEST, Tally(11, 11), False),
        (SHORT, Tally(10, 4), True),
        (SHORT, Tally(10, 3), False),
        (SHORT, Tally(9, 9), False),  # too few to tell
        (SHORT, Tally(1000, 399), False),
        (SHORT, Tally(1000, 400), True),
        (LONG, Tally(10, 9), True),
        (LONG, Tally(10, 8), False),
        (HANGING, Tally(2, 2, lost_s=30.0), True),
        (HANGING, Tally(2, 2, lost_s=29.0), False),
        (HANGING, Tally(10, 5, lost_s=500.0), False),
        (SHORT, Tally(), False),
    ],
)
def test_a_circuit_opens_when_a_window_holds_too_many_failures(window: object, tally: Tally, opens: bool) -> None:
    opened = judged(None, [(window, tally)], "server_error", NOW)  # type: ignore[list-item]  # of WINDOWS

    assert opened == (COOLING if opens else None)


def test_what_rests_already_is_not_opened_again() -> None:
    assert judged(COOLING, [(SHORT, Tally(10, 10))], "cut", NOW + 1) is None


def test_what_was_counted_before_a_circuit_closed_does_not_open_it_again() -> None:
    assert counted_from(CLOSED, SHORT, NOW + 3) == NOW
    assert counted_from(CLOSED, SHORT, NOW + 30) == NOW + 20
    assert counted_from(None, SHORT, NOW) == NOW - SHORT.seconds


@pytest.mark.parametrize(
    ("circuit", "at", "expected"),
    [
        (None, NOW, "healthy"),
        (CLOSED, NOW, "healthy"),
        (COOLING, NOW, "cooling_down"),
        (COOLING, NOW + COOLING_S, "probing"),
        (COOLING, NOW + 100, "probing"),
        # The provider said when: nothing has to be proved.
        (rested(None, 5.0, "rate_limited", NOW), NOW + 4.9, "cooling_down"),
        (rested(None, 5.0, "rate_limited", NOW), NOW + 5.0, "healthy"),
    ],
)
def test_a_circuit_rests_then_is_probed(circuit: Circuit | None, at: float, expected: State) -> None:
    assert state(circuit, at) == expected


def test_two_answers_close_it() -> None:
    first = answered(COOLING, NOW + 2, NOW + 3)
    assert state(first, NOW + 3) == "probing"

    second = answered(first, NOW + 3, NOW + 4)

    assert state(second, NOW + 4) == "healthy"
    assert second.since == NOW + 4


def test_an_answer_to_a_call_from_before_it_opened_says_nothing() -> None:
    assert answered(COOLING, NOW - 1, NOW + 1) is COOLING


@pytest.mark.parametrize(
    ("why", "rests_s"),
    [("server_error", [4.0, COOLING_S_MAX, COOLING_S_MAX]), ("timeout", [4.0, 8.0, 16.0, 32.0, HANGING_S_MAX])],
)
def test_each_probe_that_fails_doubles_the_rest_up_to_a_bound(why: str, rests_s: list[float]) -> None:
    circuit, seen = COOLING, []
    for _ in rests_s:
        circuit = probe_failed(circuit, why, NOW + 50)
        seen.append(circuit.until - (NOW + 50))

    assert seen == rests_s
    assert circuit.since == NOW


def test_what_opens_again_soon_after_it_closed_rests_longer() -> None:
    soon = judged(CLOSED, [(SHORT, Tally(10, 10))], "cut", NOW + 20)
    late = judged(CLOSED, [(SHORT, Tally(10, 10))], "cut", NOW + REMEMBERED_S)

    assert soon is not None and late is not None
    assert (soon.until - NOW - 20, late.until - NOW - REMEMBERED_S) == (2 * COOLING_S, COOLING_S)


def test_a_refused_key_rests_at_once_and_calls_that_were_under_way_do_not_prolong_it() -> None:
    first = refused(None, "auth", NOW)

    assert (state(first, NOW), first.until) == ("cooling_down", NOW + KEY_COOLING_S)
    assert refused(first, "auth", NOW + 1) is first
    assert refused(first, "auth", NOW + 31).until == NOW + 31 + 2 * KEY_COOLING_S


def test_a_limit_is_rested_for_as_long_as_the_provider_says() -> None:
    first = rested(None, 3.0, "rate_limited", NOW)

    assert rested(first, 2.0, "rate_limited", NOW + 0.5) is first
    assert rested(first, 4.0, "rate_limited", NOW + 0.5).until == NOW + 4.5
    assert rested(first, 4.0, "rate_limited", NOW + 0.5).openings == 1
    assert rested(first, 3.0, "rate_limited", NOW + 4).openings == 2
    assert rested(first, 3.0, "rate_limited", NOW + 20).openings == 1
    assert rested(None, 1e9, "rate_limited", NOW).until == NOW + RESTING_S_MAX


def test_a_circuit_is_forgotten_when_it_would_open_as_if_it_had_never_been() -> None:
    assert not forgettable(COOLING, NOW + 1e6)
    assert not forgettable(CLOSED, NOW + REMEMBERED_S)
    assert forgettable(CLOSED, NOW + REMEMBERED_S + 1)
    assert forgettable(rested(None, 5.0, "rate_limited", NOW), NOW + 5 + REMEMBERED_S + 1)
