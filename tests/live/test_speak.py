"""A worker's voice: the first word at once, the others in company, every word once and in its order."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import groupby

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.embedded.valkey import Valkey
from app.live.speak import FLUSH_S, FLUSH_S_MAX, FRAME_BYTES, REST, Speaker, cut, pause_s
from app.log import Log
from tests.fakes.road import ACCOUNT, PlainBox
from tests.live.speaking import REQUEST, owned, replied, said, voice
from tests.rules.offers import offer


def heard(frames: list[tuple[int, bytes]]) -> bytes:
    """The text, each number once."""
    numbers = [number for number, _ in frames]
    firsts = [next(same)[1] for _, same in groupby(frames, key=lambda one: one[0])]
    assert [number for number, _ in groupby(numbers)] == list(range(1, len(firsts) + 1)), "in order and without a gap"
    return b"".join(firsts)


async def test_the_first_piece_leaves_at_once_and_tells_who_answers(log: Log) -> None:
    speaking = voice(log)
    speaking.asked(offer("cheap"), 2)

    speaking.say(b"Hel")
    await log.ping()

    assert await said(log) == [(1, b"Hel")]
    (frame,) = await log.frames(ACCOUNT, REQUEST, "0-0")
    assert orjson.loads(frame.meta) == {"provider": "cheap", "model": "gpt", "attempts": 2}


async def test_the_pieces_behind_it_are_merged_into_one_frame(log: Log) -> None:
    flushes: list[int] = []
    speaking = voice(log, flushes=flushes)

    for piece in (b"Hel", b"lo", b" ", b"you"):
        speaking.say(piece)
    await speaking.settled()

    assert await said(log) == [(1, b"Hel"), (2, b"lo you")]
    assert await replied(log) == [1, 2]
    assert (flushes, speaking.number) == ([1, 3], 2)
    assert (await log.frames(ACCOUNT, REQUEST, "0-0"))[1].meta == b""


async def test_the_pieces_behind_it_leave_by_themselves(log: Log) -> None:
    speaking = voice(log)
    speaking.say(b"Hel")
    speaking.say(b"lo")

    async with asyncio.timeout(20):
        while len(await said(log)) < 2:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)

    assert heard(await said(log)) == b"Hello"


async def test_one_timer_flushes_all_voices(log: Log) -> None:
    speaker = Speaker(log, lambda frames: None)
    voices = [speaker.voice(owned(request=f"req_{number}"), PlainBox()) for number in range(50)]

    for number, speaking in enumerate(voices):
        for piece in range(20):
            speaking.say(b"%d.%d " % (number, piece))
    await asyncio.gather(*(speaking.settled() for speaking in voices))

    for number in range(50):
        wanted = b"".join(b"%d.%d " % (number, piece) for piece in range(20))
        assert heard(await said(log, f"req_{number}")) == wanted


async def test_who_said_nothing_is_settled(log: Log) -> None:
    speaking = voice(log)

    await speaking.settled()

    assert (speaking.number, await said(log)) == (0, [])


async def test_what_is_said_in_an_outage_is_there_after_it_in_order(own_server: Valkey) -> None:
    log = await Log(own_server.url, name="tests").open()
    speaking = voice(log)
    speaking.say(b"before ")
    await log.ping()
    os.kill(own_server.pid, signal.SIGKILL)
    for number in range(20):
        speaking.say(b"%d " % number)
        if number == 10:
            own_server.wait_ended()
            own_server.start()
        await asyncio.sleep(0.01)
    speaking.say(b"after")

    await speaking.settled()

    assert heard(await said(log)) == b"before " + b"".join(b"%d " % number for number in range(20)) + b"after"
    await log.close()


async def test_a_frame_that_the_log_refuses_is_told_again_until_it_is_taken(own_server: Valkey) -> None:
    log = await Log(own_server.url, name="tests").open()
    speaking = voice(log)
    await log.command("CONFIG", "SET", "maxmemory", "1")
    speaking.say(b"first ")
    for number in range(5):
        speaking.say(b"%d " % number)
        await asyncio.sleep(0.04)
    settling = asyncio.create_task(speaking.settled())
    await log.ping()
    assert (await said(log), settling.done()) == ([], False)

    await log.command("CONFIG", "SET", "maxmemory", "0")
    await settling

    assert heard(await said(log)) == b"first 0 1 2 3 4 "
    assert await replied(log) == [1, 2]
    await log.close()


async def test_who_waits_for_a_log_that_is_away_can_be_stopped(own_server: Valkey) -> None:
    log = await Log(own_server.url, name="tests").open()
    await log.command("CONFIG", "SET", "maxmemory", "1")
    speaking = voice(log)
    speaking.say(b"never heard")

    settling = asyncio.create_task(speaking.settled())
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait((settling,))

    assert settling.cancelled()
    await log.close()


def test_who_has_much_to_say_gathers_longer_up_to_a_bound() -> None:
    assert pause_s(0.0) == FLUSH_S
    assert pause_s(FLUSH_S / REST) == FLUSH_S
    assert FLUSH_S < pause_s(2 * FLUSH_S / REST) < FLUSH_S_MAX
    assert pause_s(1.0) == FLUSH_S_MAX


async def test_a_burst_is_cut_at_the_ends_of_its_events(log: Log) -> None:
    event = b"data: " + b"x" * 1000 + b"\n\n"
    long = b"data: " + b"y" * 2 * FRAME_BYTES + b"\n\n"
    speaking = voice(log)

    speaking.say(event)
    speaking.say(event * 100 + long + event)
    await speaking.settled()

    told = await said(log)
    assert heard(told) == event * 101 + long + event
    assert all(piece.endswith(b"\n\n") for _, piece in told)
    assert [piece for _, piece in told if len(piece) > 2 * FRAME_BYTES] == [long]


@given(st.lists(st.integers(0, 3 * FRAME_BYTES), max_size=6), st.booleans())
def test_a_cut_loses_nothing_and_breaks_no_event(lengths: list[int], ended: bool) -> None:
    burst = b"\n\n".join(b"x" * length for length in lengths) + (b"\n\n" if ended else b"")
    pieces = cut(burst)
    assert b"".join(pieces) == burst
    assert all(piece.endswith(b"\n\n") for piece in pieces[:-1])
    assert all(len(piece) <= FRAME_BYTES + 2 or piece.count(b"\n\n") <= 1 for piece in pieces)
