"""The web process's ear: nothing is lost, mixed or repeated, however it came, and nobody is left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from app.live import listen
from app.live.listen import BEHIND_BYTES_MAX, ClientGone, Follower, Heard, Listener, Waiting, follow
from app.log import Connection, Log, keys
from app.log.log import FRAMES_MAX
from app.log.values import Frame, Limits, Owned, Repeat
from events.completions import Complete
from events.message import Envelope
from handlers.complete import give_up
from handlers.rules.catalogue import Catalogue
from tests.fakes.road import ACCOUNT, PlainBox, ScriptedProviders, command, ports
from tests.live.speaking import REQUEST, WEB, end, owned, tell

WORLD = ports(ScriptedProviders(Catalogue.of(())))


@asynccontextmanager
async def listening(log: Log) -> AsyncIterator[Listener]:
    listener = Listener(log, WEB)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


def shown(heard: Heard | None) -> str:
    assert heard is not None
    frame = heard.frame
    return ("|" if heard.restarted else "") + ("end" if frame.kind == "e" else frame.body.decode() or frame.kind)


async def all_of(waiting: Waiting | Follower) -> list[str]:
    """What one client is shown until the end."""
    pieces: list[str] = []
    async with asyncio.timeout(30):
        while not pieces or not pieces[-1].endswith("end"):
            pieces.append(shown(await waiting.next()))
    return pieces


async def test_two_hundred_waiting_requests_each_hear_their_own(log: Log) -> None:
    async with listening(log) as listener:

        async def wait(number: int) -> list[str]:
            with listener.expect(ACCOUNT, f"req_{number}") as waiting:
                return await all_of(waiting)

        clients = [asyncio.create_task(wait(number)) for number in range(200)]
        await asyncio.sleep(0)
        assert listener.count == 200
        for piece in range(1, 4):
            await asyncio.gather(*(tell(log, piece, request=f"req_{number}") for number in range(200)))
        await asyncio.gather(*(end(log, 4, request=f"req_{number}") for number in range(200)))

        assert await asyncio.gather(*clients) == [["1.1", "1.2", "1.3", "end"]] * 200
        assert listener.count == 0


async def test_what_was_said_before_the_reader_began_is_heard(log: Log) -> None:
    await tell(log, 1)
    listener = Listener(log, WEB)
    with listener.expect(ACCOUNT, REQUEST) as waiting:
        await listener.start()
        assert shown(await waiting.next()) == "1.1"
    await listener.stop()


async def asked(log: Log) -> Envelope:
    at = command(request=REQUEST)
    await log.admit(at, Limits(), Repeat(caller="key"), {})
    return at


async def failed(log: Log, at: Envelope, *, number: int = 1) -> None:
    """A worker takes it up and ends it."""
    assert isinstance(at.body, Complete)
    ((_, ((entry, _),)),) = await log.command(
        "XREADGROUP", "GROUP", keys.COMPLETIONS, "a", "STREAMS", keys.commands(0), ">"
    )
    fact = at.follow(give_up(at.body, at, PlainBox(), WORLD, why="parked", attempts=5).event, id="fact", at=at.at)
    of = Owned(0, entry.decode(), 1, REQUEST, ACCOUNT, None)
    assert await log.finish(of, "a", fact, "failed", meta=b"{}", body=b"", number=number)


class Slow(Log):
    """A log whose reader is slow: behind its first look at a live stream a whole request goes by."""

    meanwhile: Envelope | None = None

    async def frames(
        self,
        account: str,
        request: str,
        after: str,
        *,
        most: int = FRAMES_MAX,
        block_ms: int | None = None,
        over: Connection | None = None,
    ) -> list[Frame]:
        found = await super().frames(account, request, after, most=most, block_ms=block_ms, over=over)
        at, self.meanwhile = self.meanwhile, None
        if at:
            await tell(self, 1)
            await tell(self, 2)
            await failed(self, at, number=3)
        return found


async def test_a_request_that_goes_by_between_two_looks_is_heard_whole(log: Log, log_url: str) -> None:
    slow = Slow(log_url, name="slow")
    await slow.open()
    slow.meanwhile = await asked(log)
    async with aclosing(follow(slow, ACCOUNT, REQUEST)) as frames:
        heard = [shown(one) async for one in frames]
    await slow.close()

    assert heard == ["1.1", "1.2", "end"]


async def test_the_end_of_a_request_that_told_nothing_is_heard_from_its_event(log: Log) -> None:
    await failed(log, await asked(log))

    (last,) = [one async for one in follow(log, ACCOUNT, REQUEST) if one is not None]

    assert await log.frames(ACCOUNT, REQUEST, "0-0") == []
    assert (last.frame.kind, json.loads(last.frame.meta)["outcome"], last.restarted) == ("e", "failed", False)


@pytest.mark.parametrize("lost", [{1}, {2}, {1, 2}, {2, 3}, {1, 2, 3}])
async def test_frames_that_did_not_reach_the_reply_stream_are_read_from_the_live_stream(
    log: Log, lost: set[int]
) -> None:
    async with listening(log) as listener:
        with listener.expect(ACCOUNT, REQUEST) as waiting:
            for number in (1, 2, 3):
                await tell(log, number, reply=number not in lost)
            await end(log, 4)

            assert await all_of(waiting) == ["1.1", "1.2", "1.3", "end"]


async def test_who_reads_too_slowly_holds_little_and_misses_nothing(log: Log) -> None:
    words, frames = b"w" * 20_000, 300
    async with listening(log) as listener:
        with listener.expect(ACCOUNT, REQUEST) as waiting:
            for number in range(1, frames + 1):
                await asyncio.gather(*log.tell(owned(), number, b"%d %b" % (number, words), b""))
            await end(log, frames + 1)
            await until_read(log, listener)
            held = sum(len(one.frame.body) for one in waiting._heard)

            said = [piece.partition(" ")[0] for piece in await all_of(waiting)]

    assert held <= BEHIND_BYTES_MAX + 2 * len(words)
    assert said == [*map(str, range(1, frames + 1)), "end"]


async def test_a_later_attempt_voids_what_was_heard(log: Log) -> None:
    async with listening(log) as listener:
        with listener.expect(ACCOUNT, REQUEST) as waiting:
            await tell(log, 1)
            await tell(log, 2)
            await tell(log, 1, attempt=2)
            await tell(log, 3)
            await end(log, 2, attempt=2)

            assert await all_of(waiting) == ["1.1", "1.2", "|2.1", "end"]


async def test_a_gap_that_cannot_be_healed_now_is_not_asked_for_again_and_again(log: Log) -> None:
    waiting = Waiting(log, ACCOUNT, REQUEST)
    await tell(log, 3)
    (late,) = await log.frames(ACCOUNT, REQUEST, "0-0")
    waiting.hear(late)
    assert await waiting.next() is None

    coming = asyncio.create_task(waiting.next())
    for _ in range(5):
        await log.ping()

    assert not coming.done()
    waiting.interrupt()
    with pytest.raises(ClientGone):
        await coming


async def test_a_client_that_leaves_is_told_at_once(log: Log) -> None:
    async with listening(log) as listener:
        with listener.expect(ACCOUNT, REQUEST) as waiting:
            coming = asyncio.create_task(waiting.next())
            await asyncio.sleep(0)
            waiting.interrupt()
            with pytest.raises(ClientGone):
                await coming


# Followers.


async def history(log: Log) -> list[str]:
    """Two attempts of one request; the ids of the entries on its live stream."""
    await tell(log, 1)
    await tell(log, 2)
    await tell(log, 1, attempt=2)
    await tell(log, 3)
    await tell(log, 2, attempt=2)
    await end(log, 3, attempt=2)
    return [one.entry for one in await log.frames(ACCOUNT, REQUEST, "0-0")]


WHOLE = ["1.1", "1.2", "|2.1", "2.2", "end"]
"""What a follower from the beginning is shown; the fourth entry is a frozen worker's and shown to nobody."""


@pytest.mark.parametrize(
    ("position", "rest"),
    [(0, WHOLE), (1, WHOLE[1:]), (2, WHOLE[2:]), (3, WHOLE[3:]), (4, WHOLE[3:]), (5, WHOLE[4:]), (6, [])],
)
async def test_a_follower_goes_on_exactly_behind_its_position(log: Log, position: int, rest: list[str]) -> None:
    entries = await history(log)
    after = entries[position - 1] if position else "0-0"

    async with aclosing(follow(log, ACCOUNT, REQUEST, after)) as frames:
        assert [shown(heard) async for heard in frames] == rest


@pytest.mark.parametrize("cut", range(6))
async def test_a_follower_that_comes_while_it_runs_hears_the_past_and_then_what_is_new(log: Log, cut: int) -> None:
    follower = Follower(follow(log, ACCOUNT, REQUEST))
    steps = [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2)]
    for number, attempt in steps[:cut]:
        await tell(log, number, attempt)
    hearing = asyncio.create_task(all_of(follower))
    await log.ping()
    for number, attempt in steps[cut:]:
        await tell(log, number, attempt)
    await end(log, 3, attempt=2)

    assert await hearing == WHOLE
    await follower.close()


async def test_a_follower_whose_client_leaves_in_the_middle_of_a_wait_leaves_nothing_behind(log: Log) -> None:
    follower = Follower(follow(log, ACCOUNT, REQUEST))
    await tell(log, 1)
    assert shown(await follower.next()) == "1.1"
    coming = asyncio.create_task(follower.next())
    await until_clients(log, 2)

    follower.interrupt()

    with pytest.raises(ClientGone):
        await coming
    await follower.close()
    await until_clients(log, 1)


async def test_a_follower_that_is_stopped_in_the_middle_of_a_wait_can_be_closed(log: Log) -> None:
    follower = Follower(follow(log, ACCOUNT, REQUEST))
    coming = asyncio.create_task(follower.next())
    await until_clients(log, 2)

    coming.cancel()
    await asyncio.wait((coming,))

    assert coming.cancelled()
    await follower.close()
    await until_clients(log, 1)


async def until_read(log: Log, listener: Listener) -> None:
    """Until the listener has heard all that is on its reply stream."""
    ((last, _),) = await log.command("XREVRANGE", keys.reply(0, WEB), "+", "-", "COUNT", 1)
    async with asyncio.timeout(20):
        while listener._after[keys.reply(0, WEB)] != last.decode():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def until_clients(log: Log, count: int) -> None:
    """Until so many connections are open on the log server under the tests' names."""
    async with asyncio.timeout(20):
        while (await log.command("CLIENT", "LIST")).count(b" name=tests") != count:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def test_the_reply_stream_of_a_busy_web_process_stays_short(log: Log) -> None:
    async with listening(log) as listener:
        with listener.expect(ACCOUNT, REQUEST) as waiting:
            for first in range(0, 2000, 100):
                await asyncio.gather(*(tell(log, first + number) for number in range(1, 101)))
            await end(log, 2001)
            assert len(await all_of(waiting)) == 2001

        assert await log.command("XLEN", keys.reply(0, WEB)) < 2001


async def test_who_follows_while_the_log_is_full_hears_the_end_all_the_same(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(listen, "BLOCK_MS", 50)
    at = await asked(log)
    await log.command("CONFIG", "SET", "maxmemory", 1)
    try:
        async with asyncio.timeout(30), aclosing(follow(log, ACCOUNT, REQUEST)) as frames:
            assert await anext(frames) is None, "nothing yet"
            await log.command("CONFIG", "SET", "maxmemory", 0)
            await failed(log, at)
            rest = [one async for one in frames if one is not None]
    finally:
        await log.command("CONFIG", "SET", "maxmemory", 0)
    assert [one.frame.kind for one in rest] == ["e"]
