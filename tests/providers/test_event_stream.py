"""However a stream is cut into reads, the same events come out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.event_stream import EVENT_BYTES_MAX, EventReader
from handlers.ports import ProviderFailed

STREAM = (
    b'data: {"a":1}\n\n'
    b": a comment\n\n"
    b'data:{"b":2}\r\n\r\n'
    b"event: named\nid: 7\ndata: first\ndata: second\n\n"
    b"\n"
    b"retry: 3\n\n"
    b"data: \xf0\x9f\x8c\x8d\r\r"
    b"data: [DONE]\n\n"
)
PAYLOADS = [b'{"a":1}', b'{"b":2}', b"first\nsecond", "🌍".encode(), b"[DONE]"]


def read(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader()
    return [payload for piece in pieces for payload in reader.feed(piece).payloads]


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_cut_at_any_byte_changes_nothing(at: int) -> None:
    assert read([STREAM[:at], STREAM[at:]]) == PAYLOADS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_at_any_bytes_change_nothing(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[a:b] for a, b in pairwise(marks)]) == PAYLOADS


def test_byte_by_byte_changes_nothing() -> None:
    assert read([bytes([byte]) for byte in STREAM]) == PAYLOADS


def test_plain_events_come_back_as_one_untouched_block() -> None:
    block = b'data: {"a":1}\n\ndata: {"b":2}\n\n'
    heard = EventReader().feed(block + b"data: {")
    assert heard.block == block


def test_what_is_not_plain_has_no_block() -> None:
    assert EventReader().feed(b": ping\n\ndata: {}\n\n").block is None


def test_an_event_beyond_all_measure_is_garbled() -> None:
    with pytest.raises(ProviderFailed) as failed:
        EventReader().feed(b"x" * (EVENT_BYTES_MAX + 1))
    assert failed.value.kind == "garbled"
