"""Passwords: which are taken, how they are kept, and that nobody's take as long."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher

from app.people import password as password_module
from app.people.password import Busy, PasswordRefused, Passwords, check_choice

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.mark.parametrize(
    "chosen",
    [
        "short",
        "x" * 257,
        "password123",
        "Password2026!",
        "1234567890",
        "0987654321!",
        "qwertyuiop",
        "iloveyou!!!!",
        "aaaaaaaaaaaa",
        "abababababab",
        "monkeymonkey",
        "correcthorsebatterystaple",
        "anna.schmidt@example.org",
        "Anna.Schmidt1990",
    ],
)
def test_what_anybody_would_guess_is_no_password(chosen: str) -> None:
    with pytest.raises(PasswordRefused) as refused:
        check_choice(chosen, "anna.schmidt@example.org")

    assert chosen not in str(refused.value)


@pytest.mark.parametrize("chosen", ["eleven blue herons", "Tr0ub4dor&3x", "пять синих цапель", "🦜🦩🐧🦉🦆🐓🦚🦢🐦🦅"])
def test_length_is_what_counts(chosen: str) -> None:
    check_choice(chosen, "anna@example.org")


async def test_a_password_fits_what_was_kept_of_it_and_nothing_else() -> None:
    passwords = Passwords(CHEAP)
    kept = await passwords.hash("eleven blue herons")

    assert kept.startswith("$argon2id$")
    assert await passwords.fits("eleven blue herons", kept)
    assert not await passwords.fits("eleven blue heron", kept)
    assert not await passwords.fits("eleven blue herons", "no hash at all")
    assert not await passwords.fits("eleven blue herons", None)


def test_what_is_kept_costs_what_owasp_asks_for() -> None:
    kept = Passwords()._hasher.hash("x")

    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_older_costs_are_known_as_such() -> None:
    assert Passwords().outdated(CHEAP.hash("x"))
    assert not Passwords(CHEAP).outdated(CHEAP.hash("x"))


async def test_more_than_can_wait_are_told_to_come_again() -> None:
    passwords = Passwords(CHEAP)

    ends = await asyncio.gather(
        *(passwords.hash("x") for _ in range(password_module.WAITING_MAX + 5)), return_exceptions=True
    )

    assert sum(isinstance(end, Busy) for end in ends) == 5
    assert await passwords.hash("x")
