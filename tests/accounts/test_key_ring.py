"""The keys above the keys."""

from __future__ import annotations

import base64
import secrets

import pytest

from app.key_ring import KeyRing, RingRefused

KEY = bytes(range(200, 232))
DATA_KEY = secrets.token_bytes(32)
ACCOUNT = "01900000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "written",
    [
        KEY.hex(),
        KEY.hex().upper(),
        base64.b64encode(KEY).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
        base64.urlsafe_b64encode(KEY).decode(),
        f" {KEY.hex()} ",
        f"{KEY.hex()},{KEY.hex()}",
    ],
)
def test_a_key_may_be_written_in_hex_or_base64(written: str) -> None:
    wrapped = KeyRing.parse(KEY.hex()).wrap(ACCOUNT, 1, DATA_KEY)
    ring = KeyRing.parse(written)

    assert ring.unwrap(ACCOUNT, 1, wrapped, ring.current) == DATA_KEY


@pytest.mark.parametrize("nonsense", ["", ",", "secret", KEY.hex()[:-2], KEY.hex() + ",", KEY.hex() + ",x", "ü" * 32])
def test_what_is_no_key_is_refused_without_repeating_it(nonsense: str) -> None:
    with pytest.raises(RingRefused) as refused:
        KeyRing.parse(nonsense)

    assert "API_KEY_ENCRYPTION_KEY" in str(refused.value)
    assert KEY.hex()[:-2] not in str(refused.value)


def test_a_wrapped_key_fits_its_own_row_only() -> None:
    ring = KeyRing.parse(KEY.hex())
    wrapped = ring.wrap(ACCOUNT, 1, DATA_KEY)

    for account, number in [(ACCOUNT, 2), ("01900000-0000-7000-8000-000000000002", 1)]:
        with pytest.raises(RingRefused, match="damaged"):
            ring.unwrap(account, number, wrapped, ring.current)


def test_a_key_that_is_not_in_the_ring_is_named() -> None:
    old = KeyRing.parse(KEY.hex())
    new = KeyRing.parse(secrets.token_hex(32))

    with pytest.raises(RingRefused, match=old.current):
        new.unwrap(ACCOUNT, 1, old.wrap(ACCOUNT, 1, DATA_KEY), old.current)


def test_a_ring_shows_names_and_no_keys() -> None:
    assert KEY.hex() not in repr(KeyRing.parse(KEY.hex()))
