"""A key says of itself whether it can be one."""

from __future__ import annotations

from hashlib import sha256

import pytest

from app.api_keys import KEY_CHARACTERS, key_hash, key_prefix, new_key, well_formed

GOLDEN = "hx_user_" + "00" * 32 + "1ssVo6"
"""Never made anew: keys with this checksum are out in the world."""


def test_a_new_key_is_well_formed() -> None:
    assert all(well_formed(new_key()) for _ in range(1000))


def test_the_checksum_stays_what_it_was() -> None:
    assert well_formed(GOLDEN)


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "hx_user_",
        "Bearer " + GOLDEN,
        GOLDEN + " ",
        GOLDEN + "\n",
        GOLDEN[:-1],
        GOLDEN[:-1] + "\n",
        GOLDEN[:-6] + "000000",
        GOLDEN[:-6] + GOLDEN[-6:].lower(),
        GOLDEN.upper(),
        GOLDEN.replace("hx_user_", "hx_live_"),
        GOLDEN.replace("00", "0g", 1),
        GOLDEN.replace("00", "01", 1),
        GOLDEN.replace("00", "\u0660\u0660", 1),
        GOLDEN.replace("00", "\x00\x00", 1),
        GOLDEN.replace("00", "\ud800\ud800", 1),
        "a" * KEY_CHARACTERS,
        "hx_user_" + "0" * 1_000_000,
        "sk-proj-" + "a" * 64,
    ],
)
def test_junk_is_not_well_formed(junk: str) -> None:
    assert not well_formed(junk)


@pytest.mark.parametrize("place", range(KEY_CHARACTERS))
def test_one_wrong_letter_anywhere_is_noticed(place: int) -> None:
    wrong = GOLDEN[:place] + ("7" if GOLDEN[place] != "7" else "8") + GOLDEN[place + 1 :]

    assert not well_formed(wrong)


def test_the_hash_is_sha_256_of_the_whole_key_and_the_prefix_shows_four_digits() -> None:
    assert key_hash(GOLDEN) == sha256(GOLDEN.encode()).hexdigest()
    assert key_prefix(GOLDEN) == "hx_user_0000..."
