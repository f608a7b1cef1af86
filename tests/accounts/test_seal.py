"""What a box seals opens in its own place only."""

from __future__ import annotations

import binascii
import os

import pytest

from app.vault import Box, Erased, Tampered
from events.message import sealed_bytes, sealed_text

ACCOUNT, OTHER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
KEY = bytes(range(32))
CONTENT = "Grüße, 世界\x00".encode()


def box(account: str = ACCOUNT, key: bytes = KEY) -> Box:
    return Box(account, {1: key}, current=1, destroyed=frozenset())


@pytest.mark.parametrize("content", [b"", b"a", CONTENT, os.urandom(1_000_000)])
def test_what_was_sealed_opens(content: bytes) -> None:
    assert box().open("question", "req_1", box().seal("question", "req_1", content)) == content


def test_the_same_content_never_looks_the_same_twice() -> None:
    assert len({box().seal("question", "req_1", CONTENT) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("kind", "id"),
    [
        ("answer", "req_1"),
        ("question", "req_2"),
        ("question", ""),
        ("", "questionreq_1"),
        ("questionr", "eq_1"),
        ("question5:req_1", ""),
    ],
)
def test_a_seal_in_another_place_is_tampered(kind: str, id: str) -> None:
    with pytest.raises(Tampered):
        box().open(kind, id, box().seal("question", "req_1", CONTENT))


def test_a_seal_of_another_account_is_tampered_even_under_the_same_key() -> None:
    with pytest.raises(Tampered):
        box(OTHER).open("question", "req_1", box().seal("question", "req_1", CONTENT))


def test_any_changed_byte_is_tampered() -> None:
    sealed = box().seal("question", "req_1", CONTENT)

    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(Tampered):
            box().open("question", "req_1", bytes(changed))


def test_a_part_of_a_seal_is_tampered() -> None:
    sealed = box().seal("question", "req_1", CONTENT)

    for length in range(len(sealed)):
        with pytest.raises(Tampered):
            box().open("question", "req_1", sealed[:length])


def test_an_older_key_still_opens_and_the_current_one_seals() -> None:
    old = box().seal("question", "req_1", CONTENT)
    both = Box(ACCOUNT, {1: KEY, 2: os.urandom(32)}, current=2, destroyed=frozenset())

    assert both.open("question", "req_1", old) == CONTENT
    with pytest.raises(Tampered):
        box().open("question", "req_1", both.seal("question", "req_1", CONTENT))


def test_what_a_destroyed_key_sealed_is_erased() -> None:
    old = box().seal("question", "req_1", CONTENT)
    later = Box(ACCOUNT, {2: os.urandom(32)}, current=2, destroyed=frozenset({1}))

    with pytest.raises(Erased):
        later.open("question", "req_1", old)


def test_the_layout_stays_what_it_was() -> None:
    """Never made anew: content sealed like this lies in logs and archives."""
    golden = "AQAAAAEm-Xadq1Tn2saTb3PsQCVrMKboMYl98cUMr1mJYlxVAAdTRP9asV9f"

    assert box().open("question", "req_1", sealed_bytes(golden)) == b"hello, night"


def test_sealed_bytes_travel_as_text() -> None:
    sealed = box().seal("question", "req_1", CONTENT)

    assert sealed_bytes(sealed_text(sealed)) == sealed
    with pytest.raises(binascii.Error):
        sealed_bytes("not base64!=")


def test_a_box_shows_no_key() -> None:
    assert KEY.hex() not in repr(box()) and repr(KEY) not in repr(box())
