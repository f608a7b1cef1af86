"""Two attempts' words are never mixed, whatever comes twice, late, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.live.order import Order, Verdict
from app.log.values import Frame

Said = tuple[int, str, int]
"""(attempt, kind, number)"""


def frame(said: Said) -> Frame:
    attempt, kind, number = said
    return Frame("0-1", "req", attempt, kind, number, b"", f"{attempt}.{number}".encode())


@pytest.mark.parametrize(
    ("heard", "verdicts"),
    [
        # One attempt, in order.
        ([(1, "d", 1), (1, "d", 2), (1, "e", 3)], ["take", "take", "take"]),
        # Only an end.
        ([(1, "e", 1)], ["take"]),
        # Resent after an outage.
        ([(1, "d", 1), (1, "d", 1), (1, "d", 2), (1, "d", 1)], ["take", "skip", "take", "skip"]),
        # A gap: the frame waits until what is before it has been read.
        ([(1, "d", 2), (1, "d", 1), (1, "d", 2)], ["missing", "take", "take"]),
        ([(1, "d", 1), (1, "e", 3), (1, "d", 2), (1, "e", 3)], ["take", "missing", "take", "take"]),
        # A later attempt after text: all taken before is void.
        ([(1, "d", 1), (2, "r", 0), (2, "d", 1), (2, "e", 2)], ["take", "restarted", "take", "take"]),
        # A later attempt before any text: nobody needs to know.
        ([(2, "r", 0), (2, "d", 1)], ["skip", "take"]),
        ([(2, "r", 0), (3, "r", 0), (3, "d", 1)], ["skip", "skip", "take"]),
        # Its `restarted` was lost: its first frame tells, and is to be taken too.
        ([(1, "d", 1), (2, "d", 1), (2, "d", 2)], ["take", "restarted", "take"]),
        ([(1, "d", 1), (2, "e", 1)], ["take", "restarted"]),
        ([(1, "d", 1), (2, "d", 2)], ["take", "missing"]),
        # A frozen worker wakes.
        ([(2, "d", 1), (1, "d", 1), (1, "d", 2), (1, "r", 0), (2, "d", 2)], ["take", "skip", "skip", "skip", "take"]),
        ([(1, "d", 1), (2, "r", 0), (1, "d", 2), (2, "d", 1)], ["take", "restarted", "skip", "take"]),
        ([(1, "d", 1), (2, "r", 0), (2, "r", 0)], ["take", "restarted", "skip"]),
    ],
)
def test_each_frame_is_taken_or_skipped_or_waited_for(heard: list[Said], verdicts: list[Verdict]) -> None:
    order = Order()

    assert [order.judge(frame(one)) for one in heard] == verdicts


@st.composite
def streams(draw: st.DrawFn) -> list[Said]:
    """The frames of two attempts as they may lie on a stream: each attempt's in order and without a gap, any of them
    repeated later, the first attempt's straying between the second's."""
    first: list[Said] = [(1, "d", number) for number in range(1, draw(st.integers(0, 5)) + 1)]
    length = draw(st.integers(0, 5))
    second: list[Said] = [*[(2, "d", number) for number in range(1, length + 1)], (2, "e", length + 1)]
    if draw(st.booleans()):
        second.insert(0, (2, "r", 0))
    stream: list[Said] = []
    while first or second:
        source = first if first and (not second or draw(st.booleans())) else second
        stream.append(source.pop(0))
        if draw(st.booleans()):
            stream.append(draw(st.sampled_from(stream)))
    return stream


def taken(stream: list[Said]) -> list[str]:
    """What a listener shows: the pieces it takes, `|` where it says that all before is void."""
    order, shown = Order(), list[str]()
    for said in stream:
        verdict = order.judge(frame(said))
        assert verdict != "missing"
        if verdict == "restarted":
            shown.append("|")
        if verdict in ("take", "restarted") and said[1] != "r":
            shown.append(f"{said[0]}.{said[2]}")
    return shown


@given(streams())
def test_what_is_taken_is_a_beginning_of_the_first_attempt_and_then_the_whole_second(stream: list[Said]) -> None:
    shown = taken(stream)

    last = max(number for attempt, _, number in stream if attempt == 2)
    whole = [f"2.{number}" for number in range(1, last + 1)]
    before = shown[: len(shown) - len(whole)]
    assert shown[len(shown) - len(whole) :] == whole
    assert before == ([f"1.{number}" for number in range(1, len(before))] + ["|"] if before else [])


@given(streams(), st.data())
def test_frames_that_were_lost_on_the_way_are_healed_by_reading_the_whole_stream(
    stream: list[Said], data: st.DataObject
) -> None:
    order, texts = Order(), {1: list[int](), 2: list[int]()}

    def hear(said: Said) -> Verdict:
        verdict = order.judge(frame(said))
        if verdict in ("take", "restarted") and said[1] != "r":
            texts[said[0]].append(said[2])
        return verdict

    for said in stream:
        if data.draw(st.booleans()) and hear(said) == "missing":
            for one in stream[: stream.index(said) + 1]:
                hear(one)
    for said in stream:
        hear(said)

    last = max(number for attempt, _, number in stream if attempt == 2)
    assert texts[2] == list(range(1, last + 1))
    assert texts[1] == list(range(1, len(texts[1]) + 1))
