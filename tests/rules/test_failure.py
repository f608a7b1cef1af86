"""What comes after a provider's failure."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from handlers.rules.failure import ATTEMPTS_MAX, CONSEQUENCES, PAUSE_S_MAX, FailureKind, Step, after

NEXT, GIVE_UP = Step(0.0, advance=True), Step(None)
KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


def step(kind: FailureKind, **given: Any) -> Step:
    """After the first call, with time left and nothing said."""
    usual: dict[str, Any] = {
        "attempts": 1,
        "others": 0,
        "resting": False,
        "text_seen": False,
        "retry_after_s": None,
        "seconds_left": 600.0,
        "chance": 0.0,
    }
    return after(kind, **(usual | given))


def test_every_kind_has_its_consequence() -> None:
    assert set(CONSEQUENCES) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "another", "alone"),
    [
        ("connect", NEXT, Step(0.25)),
        ("timeout", NEXT, GIVE_UP),
        ("rate_limited", NEXT, Step(0.25)),
        ("overloaded", NEXT, Step(0.25)),
        ("server_error", NEXT, Step(0.25)),
        ("bad_request", GIVE_UP, GIVE_UP),
        ("unsayable", NEXT, GIVE_UP),
        ("context_overflow", NEXT, GIVE_UP),
        # To an offer that the account's own chain names, if there is one; `others` counts no other.
        ("content_policy", NEXT, GIVE_UP),
        ("auth", NEXT, GIVE_UP),
        ("not_found", NEXT, GIVE_UP),
        ("garbled", NEXT, Step(0.25)),
        ("cut", NEXT, Step(0.25)),
        ("not_allowed", GIVE_UP, GIVE_UP),
        ("cooling_down", GIVE_UP, GIVE_UP),
    ],
)
def test_another_offer_comes_before_a_second_try_of_the_same(kind: FailureKind, another: Step, alone: Step) -> None:
    assert step(kind, others=2) == another
    assert step(kind, others=0) == alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("others", [0, 3])
def test_nothing_is_asked_again_once_text_may_have_been_seen(kind: FailureKind, others: int) -> None:
    assert step(kind, text_seen=True, others=others) == GIVE_UP


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("others", [0, 3])
def test_the_calls_of_one_request_are_bounded(kind: FailureKind, others: int) -> None:
    assert step(kind, attempts=ATTEMPTS_MAX, others=others) == GIVE_UP


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"retry_after_s": 1.5}, Step(1.5)),
        ({"retry_after_s": 0.0}, Step(0.0)),
        ({"retry_after_s": PAUSE_S_MAX}, Step(PAUSE_S_MAX)),
        # The client is told how long instead.
        ({"retry_after_s": PAUSE_S_MAX + 0.1}, GIVE_UP),
        ({"retry_after_s": 1.5, "seconds_left": 1.5}, GIVE_UP),
        ({"seconds_left": 0.25}, GIVE_UP),
        ({"seconds_left": -1.0, "retry_after_s": 0.0}, GIVE_UP),
        ({"attempts": 2}, Step(0.5)),
        ({"attempts": 3}, Step(1.0)),
        ({"attempts": 3, "chance": 0.5}, Step(1.5)),
        # What is known to be down is not asked again.
        ({"resting": True}, GIVE_UP),
        ({"resting": True, "others": 1}, NEXT),
        # Whoever else offers it is not made to wait for the one who is busy.
        ({"retry_after_s": 1.5, "others": 1}, NEXT),
    ],
)
def test_the_same_offer_is_asked_again_after_the_pause_it_wants_if_there_is_time(
    given: dict[str, Any], expected: Step
) -> None:
    assert step("rate_limited", **given) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_is_told_of_a_failure_with_a_status_of_an_error(kind: FailureKind) -> None:
    assert CONSEQUENCES[kind].status >= 400
