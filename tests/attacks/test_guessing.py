"""Keys are not guessed (A13): what guesses cost us is bounded, and nobody else pays for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.api_keys import new_key
from app.http.authentication import identify
from app.http.refusals import Refused
from app.http.throttle import ADDRESSES_MAX, GUESS_EVERY_S, GUESSES_AT_ONCE, Guesses
from app.identity import Found, Identities
from app.wiring import WebParts
from handlers.rules.roles import Action
from tests.accounts.records import ALICE, FakeRecords

ROUTE = Route("/somewhere", PlainTextResponse())
HERE = ip_address("203.0.113.7")
ELSEWHERE = ip_address("203.0.113.8")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def guessed(guesses: Guesses, times: int) -> None:
    for _ in range(times):
        guesses.note(HERE)


def test_who_guesses_waits_and_his_neighbour_does_not() -> None:
    guesses = Guesses(Clock())
    guessed(guesses, GUESSES_AT_ONCE - 1)
    assert guesses.wait_s(HERE) == 0
    guessed(guesses, 1)
    assert guesses.wait_s(HERE) == GUESS_EVERY_S
    assert guesses.wait_s(ELSEWHERE) == 0


def test_a_guess_is_forgiven_every_second() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    guessed(guesses, GUESSES_AT_ONCE)
    clock.now += GUESS_EVERY_S
    assert guesses.wait_s(HERE) == 0
    guessed(guesses, 1)
    assert guesses.wait_s(HERE) == GUESS_EVERY_S
    clock.now += GUESSES_AT_ONCE * GUESS_EVERY_S
    assert (guesses.wait_s(HERE), guesses.wait_s(None)) == (0, 0)


def test_all_addresses_of_one_machine_count_as_one() -> None:
    guesses = Guesses(Clock())
    for last in range(GUESSES_AT_ONCE):
        guesses.note(ip_address(f"2001:db8::{last:x}"))
    assert guesses.wait_s(ip_address("2001:db8::ffff")) > 0
    assert guesses.wait_s(ip_address("2001:db8:0:1::1")) == 0


def test_many_addresses_take_no_more_memory_than_is_meant() -> None:
    guesses = Guesses(Clock())
    for number in range(ADDRESSES_MAX + 1000):
        guesses.note(ip_address(0x0B000000 + number))
    assert len(guesses) == ADDRESSES_MAX


@dataclass(frozen=True)
class Proxies:
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True)
class Parts:
    """Those of a web process's parts that tell whose a request is."""

    identities: Identities
    settings: Proxies = Proxies()
    guesses: Guesses = field(default_factory=lambda: Guesses(Clock()))
    needs: Mapping[tuple[str, str], Action] = field(default_factory=lambda: {("GET", ROUTE.path): "models.read"})


async def asked(parts: Parts, key: str, peer: str = "203.0.113.7", **headers: str) -> int:
    """The status that this key meets."""
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    sent = [(b"authorization", f"Bearer {key}".encode()), *told]
    scope = {"client": (peer, 1), "method": "GET", "route": ROUTE, "headers": sent}
    try:
        await identify(cast(WebParts, parts), scope)
    except Refused as refused:
        return refused.status
    return 200


@pytest.fixture
def records() -> FakeRecords:
    return FakeRecords()


@pytest.fixture
def parts(records: FakeRecords) -> Parts:
    return Parts(Identities(records, "redis://127.0.0.1:1"))


async def test_guesses_reach_the_tables_only_so_often_whatever_they_say_of_their_origin(
    parts: Parts, records: FakeRecords
) -> None:
    met = [
        await asked(parts, new_key(), x_forwarded_for=f"10.0.0.{n % 250}", cf_connecting_ip=f"10.0.1.{n % 250}")
        for n in range(10 * GUESSES_AT_ONCE)
    ]
    assert met == [401] * GUESSES_AT_ONCE + [429] * (9 * GUESSES_AT_ONCE)
    assert records.lookups == GUESSES_AT_ONCE


async def test_a_good_key_in_use_does_not_hear_of_its_neighbours_guesses(parts: Parts, records: FakeRecords) -> None:
    good, fresh = records.add(Found(ALICE, "active", revoked=False)), records.add(Found(ALICE, "active", revoked=False))
    assert await asked(parts, good) == 200
    for _ in range(GUESSES_AT_ONCE + 1):
        await asked(parts, new_key())
    assert await asked(parts, good) == 200
    assert await asked(parts, fresh, "203.0.113.8") == 200


async def test_revoked_keys_and_words_that_are_no_keys_are_no_guesses(parts: Parts, records: FakeRecords) -> None:
    revoked = records.add(Found(ALICE, "active", revoked=True))
    for _ in range(2 * GUESSES_AT_ONCE):
        assert await asked(parts, revoked) == 401
        assert await asked(parts, "hx_user_" + "0" * 70) == 401
    assert parts.guesses.wait_s(ip_address("203.0.113.7")) == 0
