"""One socket for all tasks: replies go to whom they belong, and an outage is told, never hidden."""

from __future__ import annotations

import asyncio
import math
import os
import signal

import pytest

from app.embedded.valkey import Valkey
from app.log import Connection, Log, LogGone
from app.log.connection import LogRefused


async def until_restored(connection: Connection | Log) -> None:
    async with asyncio.timeout(20):
        while not math.isfinite(connection.restored_ago_s):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def restart(server: Valkey) -> None:
    """As after a crash: killed, and started again on the same data."""
    os.kill(server.pid, signal.SIGKILL)
    server.wait_ended()
    server.start()


async def test_each_of_many_tasks_gets_the_reply_to_its_own_command(log_url: str) -> None:
    connection = await Connection(log_url, name="tests").open()

    async def ask(number: int) -> bool:
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number % 5 == 0:
            with pytest.raises(LogRefused):
                await connection("INCR", "word")
            return True
        return bool(await connection("ECHO", number) == str(number).encode())

    await connection("SET", "word", "no number")
    assert all(await asyncio.gather(*(ask(number) for number in range(3000))))
    await connection.close()


async def test_a_command_whose_caller_has_left_does_not_shift_the_replies_of_the_others(log_url: str) -> None:
    connection = await Connection(log_url, name="tests").open()

    left, stayed = connection("ECHO", "one"), connection("ECHO", "two")
    left.cancel()

    assert await stayed == b"two"
    await connection.close()


async def test_before_it_is_connected_and_after_it_is_closed_nothing_is_sent(log_url: str) -> None:
    connection = Connection(log_url, name="tests")
    with pytest.raises(LogGone) as before:
        await connection("PING")
    await connection.open()
    await connection.close()
    with pytest.raises(LogGone) as after:
        await connection("PING")

    assert (before.value.sent, after.value.sent) == (False, False)


async def test_a_wrong_password_is_refused_at_the_door(log_url: str) -> None:
    wrong = log_url.replace("@", "x@")

    with pytest.raises(LogGone, match="WRONGPASS"):
        await Connection(wrong, name="tests").open()


async def test_a_server_that_is_not_there_is_gone_and_nothing_was_sent() -> None:
    with pytest.raises(LogGone) as gone:
        await Connection("redis://127.0.0.1:1/0", name="tests").open()

    assert not gone.value.sent


async def test_what_was_unanswered_when_the_server_died_may_have_been_carried_out(own_server: Valkey) -> None:
    connection = await Connection(own_server.url, name="tests").open()
    asked = connection("BLPOP", "nothing", 0)
    await asyncio.sleep(0.05)  # until it has left

    os.kill(own_server.pid, signal.SIGKILL)

    with pytest.raises(LogGone) as gone:
        await asked
    assert gone.value.sent
    with pytest.raises(LogGone) as meanwhile:
        await connection("PING")
    assert not meanwhile.value.sent
    own_server.wait_ended()
    own_server.start()
    await until_restored(connection)
    assert await connection("PING") == b"PONG"
    await connection.close()


async def test_scripts_are_there_again_after_a_restart_and_after_somebody_flushed_them(own_server: Valkey) -> None:
    log = await Log(own_server.url, name="tests").open()
    await log.declare()
    await restart(own_server)
    await until_restored(log)
    assert await log.standing("account", "request") is None

    await log.command("SCRIPT", "FLUSH")
    with pytest.raises(LogRefused) as refused:
        await log.standing("account", "request")
    assert refused.value.passing
    await log.ping()
    assert await log.standing("account", "request") is None
    await log.close()


async def test_a_frozen_server_is_noticed_and_found_again_when_it_thaws(own_server: Valkey) -> None:
    connection = await Connection(own_server.url, name="tests", silence_s=0.2).open()
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LogGone) as gone:
            await connection("PING")
        assert gone.value.sent
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

    await until_restored(connection)
    assert await connection("PING") == b"PONG"
    await connection.close()


async def test_a_connection_that_has_nothing_to_ask_is_never_taken_for_silent(log_url: str) -> None:
    lost: list[str] = []
    connection = Connection(log_url, name="tests", silence_s=0.04, on_lost=lambda: lost.append("lost"))
    await connection.open()

    await asyncio.sleep(0.2)

    assert (lost, await connection("PING")) == ([], b"PONG")
    await connection.close()


async def test_a_subscription_is_made_anew_after_an_outage(own_server: Valkey) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def subscribe(connection: Connection) -> None:
        await connection("SUBSCRIBE", "news")

    ear = Connection(own_server.url, name="ear", on_connect=subscribe, on_push=lambda push: heard.put_nowait(push[2]))
    await ear.open()
    await restart(own_server)
    await until_restored(ear)
    mouth = await Connection(own_server.url, name="mouth").open()
    assert await mouth("PUBLISH", "news", "hello") == 1

    assert await heard.get() == b"hello"
    await ear.close()
    await mouth.close()
