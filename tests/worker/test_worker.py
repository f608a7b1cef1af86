"""Whatever happens to its worker, a command ends exactly once."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.database import Unavailable
from app.jobs import RUNS_ALONE_MAX, TRUSTED_DELIVERIES
from app.log import Log, keys
from app.parking import ENDED_A_PARKED, PARKED_MAX
from app.vault import Erased
from events.completions import Complete
from handlers.ports import ProviderFailed
from handlers.rules.rating import Usage
from tests.fakes.road import ACCOUNT, PlainVault, Says
from tests.worker.working import NEVER_S, ask, deliver, facts, parked, pending, providers, request, told, until, working

HELLO = Says(["Hel", "lo"], usage=Usage(10, 2))
LEASE_S = 0.4


def gated(gate: asyncio.Event) -> Says:
    return Says(["Hel", "lo"], usage=Usage(10, 2), hangs=True, gate=gate)


async def frames(log: Log, number: int) -> list[tuple[int, str, int]]:
    """(attempt, kind, number) of each entry of a live stream."""
    said = await log.frames(ACCOUNT, request(number), "0-0")
    return [(one.attempt, one.kind, one.number) for one in said]


async def clean(log: Log) -> bool:
    """Nobody holds anything, nothing waits, nothing is open."""
    queued = await log.command("XLEN", keys.commands(0))
    return (await pending(log), queued, await log.open_of(ACCOUNT)) == ([], 0, [])


async def test_a_command_is_answered_and_leaves_nothing_behind(log: Log) -> None:
    world = providers(always=HELLO)
    async with working(log, world) as worker:
        await ask(log, *range(100))
        await deliver(log, worker)

        assert sorted(await told(log, 100)) == [(request(number), "completed") for number in range(100)]
        assert await clean(log)
        assert await frames(log, 7) == [(1, "d", 1), (1, "d", 2), (1, "e", 3)]


async def test_a_failure_is_an_end_too(log: Log) -> None:
    world = providers(Says(fails=ProviderFailed("bad_request", "no", status=400)))
    async with working(log, world) as worker:
        await ask(log, 1)
        await deliver(log, worker)

        assert await told(log, 1) == [(request(1), "failed")]
        assert await clean(log)
        assert await parked(log) == []


# Owners that die, stall, or restart.


async def test_what_a_stalled_worker_holds_is_taken_over_and_the_stalled_one_is_fenced(log: Log) -> None:
    gate = asyncio.Event()
    slow, quick = providers(gated(gate)), providers(HELLO)
    async with working(log, slow, consumer="a") as stalled, working(log, quick, consumer="b", lease_s=LEASE_S):
        await ask(log, 1)
        await deliver(log, stalled)
        assert await told(log, 1) == [(request(1), "completed")]

        gate.set()
        await until(lambda: not stalled.holding)

        assert await facts(log) == [(request(1), "completed")]
        assert (len(slow.asked), len(quick.asked)) == (1, 1)
        assert await clean(log)
        kinds = [one for one in await frames(log, 1) if one[0] == 2]
        assert kinds == [(2, "r", 0), (2, "d", 1), (2, "d", 2), (2, "e", 3)]


async def test_a_worker_that_wakes_up_to_a_lost_lease_stops_the_provider(log: Log) -> None:
    world = providers(Says(["Hel"], hangs=True))
    async with working(log, world, lease_s=LEASE_S) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()
        entry = (await log.command("XRANGE", keys.commands(0), "-", "+"))[0][0]
        await log.command("XCLAIM", keys.commands(0), keys.COMPLETIONS, "b", 0, entry)

        await until(lambda: world.closed == 1)
        await until(lambda: not worker.holding)

        assert (await facts(log), await pending(log)) == ([], [("b", 2)])


async def test_a_restarted_worker_takes_back_all_that_its_former_life_left(log: Log) -> None:
    await ask(log, *range(250))
    await deliver(log, None, "a")
    world = providers(always=HELLO)

    async with working(log, world, consumer="a"):
        assert sorted(await told(log, 250)) == [(request(number), "completed") for number in range(250)]

    assert len(world.asked) == 250
    assert await clean(log)


async def test_what_is_being_worked_on_is_renewed_and_left_alone(log: Log) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with (
        working(log, world, consumer="a", lease_s=LEASE_S) as worker,
        working(log, world, consumer="b", lease_s=LEASE_S),
    ):
        await ask(log, 1, 2, 3)
        await deliver(log, worker)
        await asyncio.sleep(3 * LEASE_S)

        gate.set()

        assert len(await told(log, 3)) == 3
        assert len(world.asked) == 3


async def test_a_worker_that_was_frozen_longer_than_its_lease_does_not_begin_its_own_work_anew(log: Log) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world, lease_s=LEASE_S) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()

        time.sleep(1.5 * LEASE_S)  # noqa: ASYNC251  # the whole process stands still
        await asyncio.sleep(LEASE_S)
        gate.set()

        assert await told(log, 1) == [(request(1), "completed")]
        assert len(world.asked) == 1


# What can never succeed.


async def test_what_nobody_can_read_is_put_away_and_its_neighbours_are_answered(log: Log) -> None:
    world = providers(always=HELLO)
    async with working(log, world) as worker:
        await ask(log, 1)
        await log.command("XADD", keys.commands(0), "*", "__data__", b"\xff{", "type", "complete", "id", "?")
        await log.command("XADD", keys.commands(0), "*", "nothing", "here")
        await ask(log, 2)
        await deliver(log, worker)

        assert sorted(await told(log, 2)) == [(request(1), "completed"), (request(2), "completed")]
        await until(lambda: not worker.holding)
        assert (len(await parked(log)), await clean(log)) == (2, True)


async def taken_over_often(log: Log, times: int) -> None:
    """Command 1, delivered once, and then taken over so often by workers that died."""
    await ask(log, 1)
    await deliver(log, None, "a")
    for _ in range(times):
        await log.reclaim(0, "a", idle_ms=0, most=10)


async def test_what_killed_five_workers_ends_as_failed_and_is_parked_without_asking_a_provider(log: Log) -> None:
    await taken_over_often(log, TRUSTED_DELIVERIES)
    await log.command("HSET", keys.request(0, request(1)), "alone", RUNS_ALONE_MAX)
    world = providers()

    async with working(log, world, consumer="a"):
        assert await told(log, 1) == [(request(1), "failed")]

    died = TRUSTED_DELIVERIES + RUNS_ALONE_MAX
    assert (await parked(log), world.asked) == ([f"{died} workers have died over it"], [])
    assert await clean(log)


async def test_the_fifth_run_is_still_tried(log: Log) -> None:
    await taken_over_often(log, TRUSTED_DELIVERIES)
    await log.command("HSET", keys.request(0, request(1)), "alone", RUNS_ALONE_MAX - 1)

    async with working(log, providers(HELLO), consumer="a"):
        assert await told(log, 1) == [(request(1), "completed")]


async def test_who_was_only_held_while_workers_died_is_not_counted(log: Log) -> None:
    await taken_over_often(log, 20)

    async with working(log, providers(HELLO), consumer="a"):
        assert await told(log, 1) == [(request(1), "completed")]


async def test_a_suspect_given_back_in_order_is_acquitted(log: Log) -> None:
    await taken_over_often(log, TRUSTED_DELIVERIES)

    async with working(log, providers(gated(asyncio.Event())), consumer="a") as worker:
        await until(lambda: worker.holding == 1)
        await until_alone(log)
        await worker.drain(within_s=0.1)

    assert await log.command("HGET", keys.request(0, request(1)), "alone") == b"0"


async def until_alone(log: Log) -> None:
    async with asyncio.timeout(10):
        while await log.command("HGET", keys.request(0, request(1)), "alone") != b"1":  # noqa: ASYNC110  # on the server
            await asyncio.sleep(0.01)


async def test_a_command_from_the_future_is_left_for_a_worker_that_can_read_it(log: Log) -> None:
    await ask(log, 1)
    ((_, words),) = await log.command("XRANGE", keys.commands(0), "-", "+")
    this, next = b'"version":%d' % Complete.version, b'"version":%d' % (Complete.version + 1)
    newer = words[1].replace(this, next, 1)
    await log.command("XADD", keys.commands(0), "*", "__data__", newer, "type", "complete", "id", "newer")
    async with working(log, providers(HELLO)) as worker:
        await deliver(log, worker)
        assert await told(log, 1) == [(request(1), "completed")]
        await until(lambda: not worker.holding)

    assert (await parked(log), await log.command("XLEN", keys.commands(0))) == ([], 1)
    assert [count for _, count in await pending(log)] == [0], "who cannot read it does not make it a suspect"


async def test_a_key_that_cannot_be_had_now_is_waited_for(log: Log) -> None:
    vault = PlainVault([Unavailable("ConnectionRefusedError")])
    async with working(log, providers(HELLO), vault=vault) as worker:
        await ask(log, 1)
        await deliver(log, worker)

        assert await told(log, 1) == [(request(1), "completed")]


async def test_a_command_of_an_erased_account_ends_as_failed_and_is_put_away(log: Log) -> None:
    world = providers()
    async with working(log, world, vault=PlainVault([Erased("gone")])) as worker:
        await ask(log, 1)
        await deliver(log, worker)

        assert await told(log, 1) == [(request(1), "failed")]
        await until(lambda: not worker.holding)
        assert (await parked(log), world.asked) == (["erased"], [])


async def test_no_more_is_asked_than_there_is_room_for_and_reading_waits(log: Log) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world, concurrency=2) as worker:
        await ask(log, *range(5))
        reading = asyncio.create_task(deliver(log, worker))
        await until(lambda: len(world.asked) == 2)
        await log.ping()
        assert (len(world.asked), reading.done(), worker.holding) == (2, False, 5)

        gate.set()

        await reading
        assert len(await told(log, 5)) == 5
        await until(lambda: not worker.holding)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_command_that_comes_again_while_it_is_held_takes_the_place_of_its_former_self(
    log: Log, waits: bool
) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world, concurrency=1) as worker:
        if waits:
            await ask(log, 9)
            await deliver(log, worker)
        await ask(log, 1)
        first = asyncio.create_task(deliver(log, worker))
        await until(lambda: worker.holding == 1 + waits)
        found = await log.reclaim(0, "a", idle_ms=0, most=10, behind=await newest_but_one(log) if waits else "")
        second = asyncio.create_task(worker.take(0, found.entries))
        await asyncio.sleep(0)

        gate.set()

        await asyncio.gather(first, second)
        assert sorted(await told(log, 1 + waits)) == [(request(1), "completed")] + [(request(9), "completed")] * waits
        assert len(world.asked) == 2  # once more where it had begun, once where it had not
        await until(lambda: not worker.holding)
        await ask(log, 2)
        await asyncio.wait_for(deliver(log, worker), 30)  # the room is whole again
        assert len(await told(log, 2 + waits)) == 2 + waits


async def newest_but_one(log: Log) -> str:
    entries = await log.command("XREVRANGE", keys.commands(0), "+", "-", "COUNT", 2)
    return str(entries[1][0].decode())


async def test_a_command_replaced_before_its_first_step_gives_its_room_back(log: Log) -> None:
    world = providers(always=HELLO)
    async with working(log, world, concurrency=1) as worker:
        await ask(log, 1)
        await deliver(log, None)
        entries = (await log.reclaim(0, "a", idle_ms=0, most=10)).entries
        again = (await log.reclaim(0, "a", idle_ms=0, most=10)).entries

        await worker.take(0, entries)  # made, and not yet begun
        async with asyncio.timeout(30):
            await worker.take(0, again)

        assert await told(log, 1) == [(request(1), "completed")]
        assert len(world.asked) == 1


# So much that the worker must be wrong.


async def unreadable(log: Log, count: int) -> None:
    for _ in range(count):
        await log.command("XADD", keys.commands(0), "*", "__data__", b"{", "type", "?", "id", "?")


async def test_a_worker_that_would_put_everything_away_stops_taking_and_the_rest_is_left_for_a_mended_one(
    log: Log,
) -> None:
    await unreadable(log, 2 * PARKED_MAX)
    await ask(log, 1)
    async with working(log, providers(), consumer="wrong", concurrency=5, lease_s=60) as worker:
        reading = asyncio.create_task(deliver(log, worker, "wrong"))
        await reading
        await until(lambda: not worker.holding)
        await ask(log, 2)
        again = asyncio.create_task(deliver(log, worker, "wrong"))
        await again

        assert len(await parked(log)) == PARKED_MAX
        left = await log.command("XLEN", keys.commands(0))
        assert (left, len(await pending(log)), worker.holding) == (PARKED_MAX + 2, PARKED_MAX + 2, 0)

    taken = (await log.reclaim(0, "mended", idle_ms=60_000, most=100)).entries
    assert [attempt for _, attempt, _ in taken] == [1] * (PARKED_MAX + 2), "given back at once, and not counted"
    read_by_hand = [entry for entry, _, words in taken if words[b"type"] == b"?"]
    await log.command("XACK", keys.commands(0), keys.COMPLETIONS, *read_by_hand)
    async with working(log, providers(always=HELLO), consumer="mended"):
        assert sorted(await told(log, 2)) == [(request(1), "completed"), (request(2), "completed")]


async def test_a_reader_of_a_worker_that_has_stopped_taking_reads_no_more(log: Log) -> None:
    await unreadable(log, PARKED_MAX + 1)
    async with working(log, providers(), consumer="wrong") as worker:
        await deliver(log, worker, "wrong")
        await until(lambda: not worker.holding)

        reading = asyncio.create_task(worker.take_and_wait(0, []))
        await log.ping()

        assert not reading.done()
        reading.cancel()


async def test_dead_letters_among_many_that_end_stop_nobody(log: Log) -> None:
    world = providers(always=HELLO)
    async with working(log, world) as worker:
        for number in range(PARKED_MAX + 10):
            await unreadable(log, 1)
            await ask(log, *range(number * ENDED_A_PARKED, (number + 1) * ENDED_A_PARKED))
            await deliver(log, worker)
            await until(lambda: not worker.holding)

        assert len(await parked(log)) == PARKED_MAX + 10
        assert await clean(log)


# Cancellation.


async def test_a_cancellation_reaches_the_provider_through_the_control_channel(log: Log) -> None:
    world = providers(Says(["Hel"], hangs=True))
    async with working(log, world) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()

        await log.cancel(ACCOUNT, request(1), "client")

        assert await told(log, 1) == [(request(1), "cancelled")]
        assert (world.closed, await clean(log)) == (1, True)


async def test_a_cancellation_nobody_heard_is_told_by_the_next_renewal(log: Log) -> None:
    world = providers(Says(["Hel"], hangs=True))
    async with working(log, world, lease_s=LEASE_S) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()

        await log.command("HSET", keys.request(0, request(1)), "cancel", "disconnect")

        assert await told(log, 1) == [(request(1), "cancelled")]


async def test_what_is_cancelled_while_it_waits_asks_nobody(log: Log) -> None:
    world = providers()
    await ask(log, 1)
    await log.cancel(ACCOUNT, request(1), "client")
    world.always = Says(hangs=True)
    async with working(log, world) as worker:
        await deliver(log, worker)

        assert await told(log, 1) == [(request(1), "cancelled")]


async def test_a_cancellation_that_comes_with_the_last_word_changes_nothing_but_the_outcome(log: Log) -> None:
    gates = [asyncio.Event() for _ in range(60)]
    world = providers(*map(gated, gates))
    async with working(log, world) as worker:
        await ask(log, *range(60))
        await deliver(log, worker)
        await until(lambda: len(world.asked) == 60)

        async def end(number: int) -> None:
            gates[number].set()
            for _ in range(number % 6):
                await asyncio.sleep(0)
            await log.cancel(ACCOUNT, request(number), "client")

        await asyncio.gather(*map(end, range(60)))

        ended = await told(log, 60)
        assert sorted(one for one, _ in ended) == [request(number) for number in range(60)]
        assert {outcome for _, outcome in ended} <= {"completed", "cancelled"}
        await until(lambda: not worker.holding)
        assert await clean(log)


# The end of the process.


async def test_draining_finishes_what_has_begun_and_gives_the_rest_back_at_once(log: Log) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world, concurrency=1) as worker:
        await ask(log, 1, 2, 3)
        reading = asyncio.create_task(deliver(log, worker))
        await world.waiting.wait()
        draining = asyncio.create_task(worker.drain())
        async with asyncio.timeout(30):
            while not (given := (await log.reclaim(0, "b", idle_ms=1000 * 1000, most=10)).entries):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.005)

        gate.set()

        await asyncio.gather(draining, reading)
        assert [attempt for _, attempt, _ in given] == [1, 1], "what was not begun is not counted"
        assert (await facts(log), world.asked) == ([(request(1), "completed")], ["one/gpt"])


async def test_draining_gives_back_what_does_not_end_in_time_without_a_word(log: Log) -> None:
    world = providers(Says(["Hel"], hangs=True))
    async with working(log, world) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()

        await worker.drain(within_s=0)

        assert (await facts(log), world.closed) == ([], 1)
    async with working(log, providers(HELLO), consumer="b", lease_s=LEASE_S):
        assert await told(log, 1) == [(request(1), "completed")]


async def test_what_is_given_back_is_taken_by_another_without_waiting_for_its_round(log: Log) -> None:
    gate = asyncio.Event()
    async with (
        working(log, providers(gated(gate)), consumer="a", concurrency=1) as leaving,
        working(log, providers(always=HELLO), consumer="b", lease_s=NEVER_S),
    ):
        await ask(log, 1, 2)
        reading = asyncio.create_task(deliver(log, leaving))
        await until(lambda: leaving.holding == 2)
        await log.ping()
        draining = asyncio.create_task(leaving.drain())

        assert await told(log, 1) == [(request(2), "completed")]
        gate.set()
        await asyncio.gather(draining, reading)


async def test_what_reached_only_the_name_of_a_draining_worker_is_given_back_too(log: Log) -> None:
    await ask(log, 1)
    async with working(log, providers(), consumer="a") as worker:
        await deliver(log, None, "a")
        await worker.drain()

    taken = (await log.reclaim(0, "b", idle_ms=int(NEVER_S * 1000), most=10)).entries
    assert [attempt for _, attempt, _ in taken] == [2]


async def test_who_is_draining_takes_nothing_over(log: Log) -> None:
    gate = asyncio.Event()
    world = providers(always=gated(gate))
    async with working(log, world, consumer="a", lease_s=LEASE_S) as worker:
        await ask(log, 1)
        await deliver(log, worker)
        await world.waiting.wait()
        draining = asyncio.create_task(worker.drain())
        await ask(log, 2)
        await deliver(log, None, "dead")

        await asyncio.sleep(3 * LEASE_S)
        gate.set()
        await draining

        assert (await facts(log), await pending(log)) == ([(request(1), "completed")], [("dead", 1)])
