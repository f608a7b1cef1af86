"""Each script of the log server: what it decides in its one step, and for whom."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from app.log import Log, keys
from app.log.values import (
    Accepted,
    Admission,
    Limits,
    Mismatch,
    Owned,
    Pace,
    Repeat,
    Same,
    State,
    TooFast,
    TooMany,
    frame,
    pace,
)
from events.catalog import read
from events.completions import Complete
from events.message import Envelope
from handlers.complete import give_up
from handlers.rules.catalogue import Catalogue
from tests.fakes.road import ACCOUNT, PlainBox, ScriptedProviders, command, ports

FREE = Limits()
ONCE = Repeat(caller="key")
WORLD = ports(ScriptedProviders(Catalogue.of(())))
LEASE_MS = 60_000


def request(number: int) -> str:
    return f"req_{number:032x}"


async def ask(
    log: Log, number: int = 1, *, limits: Limits = FREE, repeat: Repeat = ONCE, reply_to: str | None = None
) -> Admission:
    at = command(request=request(number), reply_to=reply_to)
    return await log.admit(at, limits, repeat, {"model": "gpt", "stream": "1"})


async def deliver(log: Log, consumer: str = "a", most: int = 100) -> list[Owned]:
    """What FastStream does: read what nobody has had yet."""
    said = await log.command(
        "XREADGROUP", "GROUP", keys.COMPLETIONS, consumer, "COUNT", most, "STREAMS", keys.commands(0), ">"
    )
    return (
        [owned(entry.decode(), 1, dict(zip(words[::2], words[1::2], strict=True))) for entry, words in said[0][1]]
        if said
        else []
    )


def owned(entry: str, attempt: int, words: Mapping[bytes, bytes]) -> Owned:
    said = read(words[b"__data__"])
    assert isinstance(said.body, Complete)
    return Owned(0, entry, attempt, said.subject, said.account, said.body.reply_to)


async def take_over(log: Log, consumer: str, *, idle_ms: int = 0, own: bool = False) -> list[Owned]:
    found = await log.reclaim(0, consumer, idle_ms=idle_ms, most=100, own=own)
    return [owned(*one) for one in found.entries]


def fact(of: Owned) -> Envelope:
    at = command(request=of.request)
    assert isinstance(at.body, Complete)
    ending = give_up(at.body, at, PlainBox(), WORLD, why="parked", attempts=5)
    return at.follow(ending.event, id=f"fact of {of.request} {of.attempt}", at=at.at)


async def finish(
    log: Log, of: Owned, consumer: str = "a", *, state: State = "completed", parked: str = ""
) -> str | None:
    return await log.finish(of, consumer, fact(of), state, meta=b"{}", body=b"answer", number=1, parked=parked)


async def pending(log: Log) -> list[tuple[str, str, int]]:
    said = await log.command("XPENDING", keys.commands(0), keys.COMPLETIONS, "-", "+", 1000)
    return [(entry.decode(), consumer.decode(), count) for entry, consumer, _, count in said]


async def events(log: Log) -> list[str]:
    return [read(raw).subject for _, raw in await log.read_events(0, "0-0", count=10_000)]


async def state(log: Log, number: int = 1) -> str | None:
    standing = await log.standing(ACCOUNT, request(number))
    return standing.state if standing else None


async def length(log: Log, key: str) -> int:
    said: int = await log.command("XLEN", key)
    return said


async def test_what_is_declared_twice_is_there_once_and_what_was_written_before_is_read(log: Log) -> None:
    await log.declare()
    await ask(log)

    await log.declare()

    assert [one.request for one in await deliver(log)] == [request(1)]


# Admission.


async def test_an_accepted_command_is_queued_open_and_readable(log: Log) -> None:
    assert await ask(log) == Accepted()

    standing = await log.standing(ACCOUNT, request(1))
    assert standing is not None
    assert (standing.state, standing.event, standing.cancelled_by) == ("queued", None, None)
    assert standing.fields["model"] == "gpt"
    assert [one.request for one in await log.open_of(ACCOUNT)] == [request(1)]
    assert await log.standing("another", request(1)) is None
    (of,) = await deliver(log)
    assert (of.request, of.account, await state(log)) == (request(1), ACCOUNT, "running")


async def test_the_same_idempotency_key_and_body_give_the_same_request(log: Log) -> None:
    repeat = Repeat("key", idempotency_digest="i", body_digest="b")
    assert isinstance(await ask(log, 1, repeat=repeat), Accepted)

    assert await ask(log, 2, repeat=repeat) == Same(request(1))
    assert await length(log, keys.commands(0)) == 1
    assert await state(log, 2) is None


async def test_the_same_idempotency_key_with_another_body_is_a_mismatch(log: Log) -> None:
    await ask(log, 1, repeat=Repeat("key", idempotency_digest="i", body_digest="b"))

    assert await ask(log, 2, repeat=Repeat("key", idempotency_digest="i", body_digest="c")) == Mismatch()
    assert await length(log, keys.commands(0)) == 1


async def test_of_fifty_with_one_idempotency_key_at_once_one_is_accepted(log: Log) -> None:
    repeat = Repeat("key", idempotency_digest="i", body_digest="b")

    said = await asyncio.gather(*(ask(log, number, repeat=repeat) for number in range(50)))

    assert sum(isinstance(one, Accepted) for one in said) == 1
    assert len({one.request for one in said if isinstance(one, Same)}) == 1
    assert await length(log, keys.commands(0)) == 1


async def test_a_repetition_is_found_even_where_the_limits_are_used_up(log: Log) -> None:
    limits = Limits((pace(ACCOUNT, 1),), open_max=1)
    repeat = Repeat("key", idempotency_digest="i", body_digest="b")
    await ask(log, 1, limits=limits, repeat=repeat)

    assert await ask(log, 2, limits=limits, repeat=repeat) == Same(request(1))


async def test_the_rate_lets_a_burst_in_and_says_how_long_the_next_must_wait(log: Log) -> None:
    limits = Limits((Pace(ACCOUNT, 60_000_000, 3),))

    said = [await ask(log, number, limits=limits) for number in range(5)]

    assert [one.paces[0].left for one in said if isinstance(one, Accepted)] == [2, 1, 0]
    late = [one for one in said if isinstance(one, TooFast)]
    assert len(late) == 2
    assert all(0 < one.retry_after_s <= 60 < one.whole_after_s <= 180 for one in late)
    assert await length(log, keys.commands(0)) == 3


async def test_a_rate_counts_each_subject_for_itself_and_recovers(log: Log) -> None:
    fast, other = Limits((Pace(ACCOUNT, 30_000, 1),)), Limits((pace("another", 1),))
    assert isinstance(await ask(log, 1, limits=fast), Accepted)
    assert isinstance(await ask(log, 2, limits=other), Accepted)

    said = await ask(log, 3, limits=fast)
    if isinstance(said, TooFast):
        await asyncio.sleep(said.retry_after_s + 0.001)
        said = await ask(log, 3, limits=fast)

    assert isinstance(said, Accepted)
    assert isinstance(await ask(log, 4, limits=other), TooFast)


async def test_an_account_has_no_more_open_than_it_may_until_one_ends(log: Log) -> None:
    limits = Limits(open_max=2)
    said = await asyncio.gather(*(ask(log, number, limits=limits) for number in range(4)))
    assert [type(one) for one in said] == [Accepted, Accepted, TooMany, TooMany]
    assert said[2] == TooMany(2)

    first, _ = await deliver(log)
    await finish(log, first)

    assert isinstance(await ask(log, 5, limits=limits), Accepted)


async def test_a_refusal_takes_nothing_from_the_rate(log: Log) -> None:
    limits = Limits((Pace(ACCOUNT, 60_000_000, 2),), open_max=1)
    await ask(log, 1, limits=limits)
    for number in range(2, 6):
        assert await ask(log, number, limits=limits) == TooMany(1)
    (of,) = await deliver(log)
    await finish(log, of)

    assert isinstance(await ask(log, 6, limits=limits), Accepted)


NOTE = Repeat("key", body_digest="b", retry="note")
ATTACH = Repeat("key", body_digest="b", retry="attach")


async def test_an_sdks_retry_attaches_to_the_open_request_it_repeats(log: Log) -> None:
    await ask(log, 1, repeat=NOTE)

    assert await ask(log, 2, repeat=ATTACH) == Same(request(1))


async def test_a_first_call_with_the_same_body_is_a_request_of_its_own(log: Log) -> None:
    await ask(log, 1, repeat=NOTE)

    assert isinstance(await ask(log, 2, repeat=NOTE), Accepted)
    assert await ask(log, 3, repeat=ATTACH) == Same(request(2))


async def test_a_retry_by_another_key_attaches_to_nothing(log: Log) -> None:
    await ask(log, 1, repeat=NOTE)

    assert isinstance(await ask(log, 2, repeat=Repeat("other", body_digest="b", retry="attach")), Accepted)


@pytest.mark.parametrize(("ended", "attaches"), [("completed", True), ("failed", False), ("cancelled", False)])
async def test_a_retry_attaches_to_an_answer_and_not_to_a_failure(log: Log, ended: State, attaches: bool) -> None:
    await ask(log, 1, repeat=NOTE)
    (of,) = await deliver(log)
    await finish(log, of, state=ended)

    said = await ask(log, 2, repeat=ATTACH)

    assert said == Same(request(1)) if attaches else isinstance(said, Accepted)


async def test_a_retry_does_not_attach_to_what_is_being_cancelled(log: Log) -> None:
    await ask(log, 1, repeat=NOTE)
    await log.cancel(ACCOUNT, request(1), "disconnect")

    assert isinstance(await ask(log, 2, repeat=ATTACH), Accepted)


# The worker.


async def test_the_first_attempt_writes_nothing_when_it_begins(log: Log) -> None:
    await ask(log, reply_to="web")
    (of,) = await deliver(log)

    assert not await log.begin(of)
    assert await log.frames(ACCOUNT, request(1), "0-0") == []


async def test_a_later_attempt_tells_the_followers_and_the_web_process_that_it_begins_anew(log: Log) -> None:
    await ask(log, reply_to="web")
    await deliver(log)
    (of,) = await take_over(log, "b")

    await log.begin(of)

    (one,) = await log.frames(ACCOUNT, request(1), "0-0")
    assert (one.kind, one.attempt, one.number) == ("r", 2, 0)
    (entry, words), *_ = await log.command("XRANGE", keys.reply(0, "web"), "-", "+")
    assert (frame(entry, words).request, frame(entry, words).kind) == (request(1), "r")


async def test_who_begins_hears_who_has_cancelled_meanwhile(log: Log) -> None:
    await ask(log)
    (of,) = await deliver(log)
    await log.cancel(ACCOUNT, request(1), "client")

    assert await log.begin(of) == b"client"
    (later,) = await take_over(log, "b")
    assert await log.begin(later) == b"client"


async def test_a_frame_lies_on_the_live_stream_and_wakes_the_web_process_that_waits(log: Log) -> None:
    await ask(log, 1, reply_to="web")
    await ask(log, 2)
    awaited, polled = await deliver(log)

    for of in (awaited, polled):
        await asyncio.gather(*log.tell(of, 1, b"text", b"meta"))

    for of in (awaited, polled):
        (one,) = await log.frames(ACCOUNT, of.request, "0-0")
        assert (one.request, one.attempt, one.kind, one.number, one.body, one.meta) == (
            of.request,
            1,
            "d",
            1,
            b"text",
            b"meta",
        )
        assert await log.command("TTL", keys.live(0, of.request)) > 0 or of.reply_to is None
    assert await length(log, keys.reply(0, "web")) == 1


async def test_the_end_is_one_step(log: Log) -> None:
    await ask(log, reply_to="web")
    (of,) = await deliver(log)
    await log.heed(ACCOUNT, of.request)

    event = await finish(log, of)

    assert event is not None
    assert await events(log) == [request(1)]
    assert await log.event(ACCOUNT, event) == fact(of).encode()
    assert await log.last_event_id(0) == event
    assert (await pending(log), await length(log, keys.commands(0))) == ([], 0)
    assert await log.open_of(ACCOUNT) == []
    standing = await log.standing(ACCOUNT, request(1))
    assert standing is not None
    assert (standing.state, standing.event) == ("completed", event)
    (last,) = await log.frames(ACCOUNT, request(1), "0-0")
    assert (last.kind, last.number, last.body) == ("e", 1, b"")
    (entry, words), *_ = await log.command("XRANGE", keys.reply(0, "web"), "-", "+")
    assert (frame(entry, words).kind, frame(entry, words).body) == ("e", b"answer")
    for key in (keys.live(0, request(1)), keys.reply(0, "web"), keys.request(0, request(1))):
        assert await log.command("TTL", key) > 0
    assert await length(log, keys.parked(0)) == 0


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("followed", [False, True])
async def test_an_end_that_nobody_follows_behind_no_word_is_written_to_the_event_alone(
    log: Log, followed: bool, told: bool, attempt: int
) -> None:
    await ask(log)
    (of,) = await deliver(log)
    if attempt == 2:
        (of,) = await take_over(log, "a")
        await log.begin(of)
    if followed:
        await log.heed(ACCOUNT, of.request)
    if told:
        await asyncio.gather(*log.tell(of, 1, b"word", b""))

    await log.finish(of, "a", fact(of), "completed", meta=b"{}", body=b"", number=2 if told else 1)

    ends = [one for one in await log.frames(ACCOUNT, of.request, "0-0") if one.kind == "e"]
    assert len(ends) == (1 if followed or told or attempt == 2 else 0)


async def test_who_follows_what_is_unknown_or_has_ended_leaves_nothing_behind(log: Log) -> None:
    await ask(log)
    (of,) = await deliver(log)
    await finish(log, of)

    await log.heed(ACCOUNT, of.request)
    await log.heed(ACCOUNT, "req_unknown")

    assert await log.command("HGET", keys.request(0, of.request), "followed") is None
    assert await log.command("EXISTS", keys.request(0, "req_unknown")) == 0


async def test_a_second_end_writes_nothing(log: Log) -> None:
    await ask(log, reply_to="web")
    (of,) = await deliver(log)
    await log.heed(ACCOUNT, of.request)
    await finish(log, of)

    assert await finish(log, of, state="failed", parked="why") is None

    assert await events(log) == [request(1)]
    assert (await length(log, keys.live(0, request(1))), await length(log, keys.reply(0, "web"))) == (1, 1)
    assert (await state(log), await length(log, keys.parked(0))) == ("completed", 0)


async def test_only_the_owner_ends_and_only_with_its_latest_attempt(log: Log) -> None:
    await ask(log)
    (first,) = await deliver(log, "a")
    (second,) = await take_over(log, "b")
    (third,) = await take_over(log, "b")
    assert (first.attempt, second.attempt, third.attempt) == (1, 2, 3)

    assert await finish(log, first, "a") is None
    assert await finish(log, first, "b") is None
    assert await finish(log, second, "b") is None
    assert await finish(log, third, "a") is None
    assert await events(log) == []
    assert await finish(log, third, "b") is not None
    assert await events(log) == [request(1)]


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_races_for_the_end_there_is_exactly_one_fact(log: Log, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(5):
        await ask(log, number, reply_to="web")
    held = [("a", of) for of in await deliver(log, "a")]

    async def race() -> None:
        consumer = chance.choice("abc")
        if chance.random() < 0.4:
            held.extend((consumer, of) for of in await take_over(log, consumer))
        else:
            owner, of = chance.choice(held)
            await finish(log, of, owner)

    await asyncio.gather(*(race() for _ in range(60)))
    for of in await take_over(log, "last"):
        await finish(log, of, "last")

    assert sorted(await events(log)) == [request(number) for number in range(5)]
    assert (await pending(log), await length(log, keys.commands(0)), await log.open_of(ACCOUNT)) == ([], 0, [])


async def test_what_is_given_up_is_parked_with_its_reason_in_the_same_step(log: Log) -> None:
    await ask(log)
    (of,) = await deliver(log)

    assert await finish(log, of, state="failed", parked="delivered 6 times") is not None

    ((_, words),) = await log.command("XRANGE", keys.parked(0), "-", "+")
    said = dict(zip(words[::2], words[1::2], strict=True))
    assert (said[b"why"], said[b"request"]) == (b"delivered 6 times", request(1).encode())
    assert read(said[b"__data__"]).subject == request(1)


async def test_what_nobody_can_read_is_parked_by_its_owner_alone(log: Log) -> None:
    await log.command("XADD", keys.commands(0), "*", "__data__", b"\xff", "type", "?", "id", "?")
    said = await log.command("XREADGROUP", "GROUP", keys.COMPLETIONS, "a", "STREAMS", keys.commands(0), ">")
    entry = said[0][1][0][0].decode()

    await log.park(0, entry, 1, "b", "not mine")
    await log.park(0, entry, 2, "a", "not this attempt")
    assert await length(log, keys.parked(0)) == 0
    await log.park(0, entry, 1, "a", "garbage")
    await log.park(0, entry, 1, "a", "again")

    assert (await length(log, keys.parked(0)), await pending(log), await length(log, keys.commands(0))) == (1, [], 0)


# Ownership.


async def test_who_renews_keeps_and_hears_what_was_lost_and_what_was_cancelled(log: Log) -> None:
    for number in range(4):
        await ask(log, number)
    kept, cancelled, lost, ended = await deliver(log, "a")
    await log.cancel(ACCOUNT, cancelled.request, "disconnect")
    await finish(log, ended)
    await log.command("XCLAIM", keys.commands(0), keys.COMPLETIONS, "b", 0, lost.entry)

    assert await log.renew(0, "a", [kept, cancelled, lost, ended]) == ["", "disconnect", "!", "!"]
    assert {(entry, consumer, count) for entry, consumer, count in await pending(log)} == {
        (kept.entry, "a", 1),
        (cancelled.entry, "a", 1),
        (lost.entry, "b", 2),
    }
    assert await log.renew(0, "a", []) == []


async def test_what_is_renewed_is_not_taken_over_and_what_is_given_back_is_at_once(log: Log) -> None:
    await ask(log, 1)
    await ask(log, 2)
    kept, given = await deliver(log, "a")

    assert await take_over(log, "b", idle_ms=LEASE_MS) == []
    await log.renew(0, "a", [kept])
    await log.give_back(0, "a", [(given.entry, 1, 1)], idle_ms=LEASE_MS)

    assert [(of.request, of.attempt) for of in await take_over(log, "b", idle_ms=LEASE_MS)] == [(given.request, 2)]
    assert await take_over(log, "c", idle_ms=LEASE_MS) == []


async def test_a_delivery_of_which_nothing_came_is_not_counted_and_only_the_owner_can_say_so(log: Log) -> None:
    for number in range(3):
        await ask(log, number)
    begun, unbegun, anothers = await deliver(log, "a")
    await log.command("XCLAIM", keys.commands(0), keys.COMPLETIONS, "b", 0, anothers.entry)

    words = [(begun.entry, 1, 1), (unbegun.entry, 1, 0), (anothers.entry, 1, 0)]
    await log.give_back(0, "a", words, idle_ms=LEASE_MS)
    await log.give_back(0, "a", words, idle_ms=LEASE_MS)

    taken = await take_over(log, "c", idle_ms=LEASE_MS)
    assert [(of.request, of.attempt) for of in taken] == [(begun.request, 2), (unbegun.request, 1)]
    assert await log.held_by(0, "a", most=10) == []
    assert [(entry, attempt) for entry, _, attempt in await log.held_by(0, "b", most=10)] == [(anothers.entry, 2)]


async def test_a_consumer_takes_back_its_own_however_fresh_and_nobody_elses(log: Log) -> None:
    for number in range(3):
        await ask(log, number)
    mine = await deliver(log, "a", most=2)
    await deliver(log, "b")

    again = await take_over(log, "a", idle_ms=LEASE_MS, own=True)

    assert [(of.request, of.attempt) for of in again] == [(of.request, 2) for of in mine]


@pytest.mark.parametrize("own", [True, False])
async def test_a_long_list_is_taken_over_page_by_page_each_entry_once(log: Log, own: bool) -> None:
    for number in range(25):
        await ask(log, number)
    await deliver(log, "a")
    behind, requests = "", list[tuple[str, int]]()

    while (page := await log.reclaim(0, "a", idle_ms=0, most=10, own=own, behind=behind)).last:
        requests += [(of.request, of.attempt) for of in (owned(*one) for one in page.entries)]
        behind = page.last

    assert requests == [(request(number), 2) for number in range(25)]


async def test_an_entry_whose_body_is_gone_is_counted_and_no_longer_pending(log: Log) -> None:
    await ask(log, 1)
    await ask(log, 2)
    gone, there = await deliver(log, "a")
    await log.command("XDEL", keys.commands(0), gone.entry)

    found = await log.reclaim(0, "b", idle_ms=0, most=10)

    assert ([one[0] for one in found.entries], found.gone) == ([there.entry], 1)
    assert [entry for entry, _, _ in await pending(log)] == [there.entry]


# Consumers that are gone for good.


async def consumers(log: Log) -> dict[str, int]:
    """Name → entries pending."""
    said = await log.command("XINFO", "CONSUMERS", keys.commands(0), keys.COMPLETIONS)
    told = [dict(zip(words[::2], words[1::2], strict=True)) for words in said]
    return {one[b"name"].decode(): one[b"pending"] for one in told}


async def test_who_is_silent_and_has_nothing_pending_is_forgotten_and_nobody_else(log: Log) -> None:
    await ask(log)
    await deliver(log, "has work")
    await deliver(log, "has none")

    assert await log.dismiss(0, idle_ms=LEASE_MS) == []
    assert await consumers(log) == {"has work": 1, "has none": 0}
    assert await log.dismiss(0, idle_ms=0) == ["has none"]
    assert await consumers(log) == {"has work": 1}


async def test_no_delivery_is_lost_to_a_dismissal_that_comes_with_it(log: Log) -> None:
    delivered, dismissed, dice = list[str](), 0, random.Random(1)
    other = await Log(log.nodes.url_of(0), name="other").open()
    for number in range(300):
        await ask(log, number)
        first, second = dice.sample((log, other), 2)  # over two connections the server decides who comes first
        delivery, dismissal = deliver(first, "a", most=1), second.dismiss(0, idle_ms=0)
        if dice.random() < 0.5:  # a quick server has served the one before the other is written
            given, gone = await asyncio.gather(delivery, dismissal)
        else:
            gone, given = await asyncio.gather(dismissal, delivery)
        delivered += [of.entry for of in given]
        dismissed += len(gone)
        if number % 3 == 0:  # so that there is nothing pending, and it may be forgotten in the next round
            await log.command("XACK", keys.commands(0), keys.COMPLETIONS, *delivered)
            delivered.clear()
    await other.close()

    assert [entry for entry, _, _ in await pending(log)] == delivered
    assert dismissed > 0
    assert sum((await consumers(log)).values()) == len(delivered)


# Cancellation.


async def test_a_cancellation_is_written_down_whatever_the_state_and_once_it_has_ended_no_more(log: Log) -> None:
    for number in (1, 2, 3):
        await ask(log, number)
    _, ended = await deliver(log, most=2)
    await finish(log, ended)

    said = [await log.cancel(ACCOUNT, request(number), "client") for number in (1, 2, 3, 4)]

    assert said[1:] == ["completed", "queued", None]
    marks = [(await log.standing(ACCOUNT, request(number))) for number in (1, 2, 3)]
    assert [mark.cancelled_by if mark else "?" for mark in marks] == ["client", None, "client"]


async def test_another_accounts_request_is_unknown(log: Log) -> None:
    await ask(log)

    assert await log.cancel("another", request(1), "client") is None
    standing = await log.standing(ACCOUNT, request(1))
    assert standing is not None
    assert standing.cancelled_by is None


async def test_the_first_word_of_a_cancellation_stands(log: Log) -> None:
    await ask(log)
    await log.cancel(ACCOUNT, request(1), "disconnect")
    await log.cancel(ACCOUNT, request(1), "client")

    standing = await log.standing(ACCOUNT, request(1))
    assert standing is not None
    assert standing.cancelled_by == "disconnect"


async def test_who_leaves_does_not_cancel_what_somebody_else_has_attached_to_but_a_wish_does(log: Log) -> None:
    repeat = Repeat("key", idempotency_digest="i", body_digest="b")
    await ask(log, 1, repeat=repeat)
    await ask(log, 2, repeat=repeat)

    await log.cancel(ACCOUNT, request(1), "disconnect")
    left = await log.standing(ACCOUNT, request(1))
    await log.cancel(ACCOUNT, request(1), "client")
    wished = await log.standing(ACCOUNT, request(1))

    assert [one.cancelled_by if one else "?" for one in (left, wished)] == [None, "client"]


# Facts.


async def test_events_are_read_behind_a_position_in_their_order(log: Log) -> None:
    at = command()
    assert await log.last_event_id(0) == "0-0"
    facts = [at.model_copy(update={"id": str(number)}) for number in range(5)]
    entries = [await log.publish(one) for one in facts]

    assert [entry for entry, _ in await log.read_events(0, "0-0", count=3)] == entries[:3]
    assert [read(raw).id for _, raw in await log.read_events(0, entries[2], count=10)] == ["3", "4"]
    assert await log.read_events(0, entries[4], count=10) == []
    assert await log.event(ACCOUNT, "1-1") is None


async def test_a_reader_that_waits_is_woken_by_the_next_event(log: Log) -> None:
    async with log.blocking("tests") as connection:
        coming = asyncio.create_task(log.read_events(0, "0-0", count=10, block_ms=5000, over=connection))
        await log.ping()
        entry = await log.publish(command())
        assert [one for one, _ in await coming] == [entry]
        assert await log.read_events(0, entry, count=10, block_ms=1, over=connection) == []
