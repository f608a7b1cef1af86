"""Children live as long as they should and not longer."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.embedded.server import tethered
from app.up.program import Program
from app.up.supervisor import StartFailed, Supervisor
from app.up.voice import Voice
from tests.up.running import alive


def stand_in(voice: Voice, *habits: str) -> Program:
    return Program("child-1", ["tests.up.stand_in", *habits], os.environ, voice)


@asynccontextmanager
async def supervised(child: Program, voice: Voice) -> AsyncIterator[asyncio.Event]:
    """An event that is set after every start again."""
    changed = asyncio.Event()
    supervisor = Supervisor(voice, changed.set)
    try:
        await supervisor.begin(child)
        yield changed
    finally:
        await supervisor.end(child, 0.5)
        voice.close()


async def gone(pid: int) -> bool:
    """Whether the process ends soon: the kernel needs a moment."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{pid}/stat") as stat:  # noqa: ASYNC230  # not a disk
            if ") Z " in stat.read():
                return True
        await asyncio.sleep(0.01)
    return False


async def test_a_killed_child_is_started_again_and_it_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    voice = Voice()
    child = stand_in(voice)
    async with supervised(child, voice) as changed:
        first = child.pid
        os.kill(first, signal.SIGKILL)
        await changed.wait()
        await child.announced()
        assert child.pid != first
    said = capfd.readouterr().err
    assert f"helix: child-1 (pid {first}) ended with -9; starting it again" in said
    assert said.count("child-1 | I begin") == 2


async def test_a_child_that_cannot_begin_fails_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    voice = Voice()
    with pytest.raises(StartFailed, match="child-1 ended with 1 before it was ready"):
        async with supervised(stand_in(voice, "die"), voice):
            pass
    assert "child-1 | I cannot begin" in capfd.readouterr().err


async def test_a_successor_is_there_before_its_predecessor_is_told_to_end() -> None:
    voice = Voice()
    old = stand_in(voice)
    new = old.successor()
    both: list[bool] = []
    supervisor = Supervisor(voice, lambda: both.append(alive(old.pid) and alive(new.pid)))
    try:
        await supervisor.begin(old)
        await supervisor.replace(old, new, ready_s=30, drain_s=30)
        assert (both, alive(old.pid), alive(new.pid)) == ([True], False, True)
    finally:
        await supervisor.end(new, 0.5)
        voice.close()


async def test_a_successor_that_cannot_begin_leaves_its_predecessor_as_it_was() -> None:
    voice = Voice()
    old = stand_in(voice)
    supervisor = Supervisor(voice, lambda: None)
    try:
        await supervisor.begin(old)
        first = old.pid
        with pytest.raises(StartFailed, match="child-1 ended with 1 before it was ready"):
            await supervisor.replace(old, stand_in(voice, "die"), ready_s=30, drain_s=30)
        assert (old.pid, alive(first)) == (first, True)
    finally:
        await supervisor.end(old, 0.5)
        voice.close()


def test_the_two_names_of_a_slot_take_turns() -> None:
    voice = Voice()
    first = stand_in(voice)
    names = [first.name, first.successor().name, first.successor().successor().name]
    voice.close()
    assert names == ["child-1", "child-1b", "child-1"]


async def test_who_no_longer_waits_for_a_child_that_drains_does_not_kill_it() -> None:
    voice = Voice()
    child = stand_in(voice, "stubborn")
    async with supervised(child, voice):
        waiting = asyncio.create_task(child.stop(30))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert alive(child.pid)
    assert await gone(child.pid)


async def test_a_child_that_does_not_listen_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    voice = Voice()
    child = stand_in(voice, "stubborn")
    async with supervised(child, voice):
        pass
    assert await gone(child.pid)
    assert "child-1 did not end" in capfd.readouterr().err


async def test_the_children_of_a_child_end_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    voice = Voice()
    async with supervised(stand_in(voice, "family"), voice):
        pass
    found = re.search(r"my child is (\d+)", capfd.readouterr().err)
    assert found
    assert await gone(int(found[1]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_a_tethered_program_dies_with_its_parent() -> None:
    parent = "import subprocess, time; from app.embedded.server import tethered; import signal; "
    parent += "child = subprocess.Popen(tethered(['/bin/sleep', '60'], at_death=signal.SIGKILL)); "
    parent += "print(child.pid, flush=True); time.sleep(60)"
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert started.stdout
    child = int(started.stdout.readline())
    await asyncio.sleep(0.3)  # it must have become `sleep`, or it is the check at its start that is tested

    started.kill()
    started.wait()

    started.stdout.close()
    assert await gone(child)


def test_a_program_whose_parent_is_another_does_not_begin() -> None:
    words = tethered(["/bin/echo", "begun"], at_death=signal.SIGKILL)
    words[words.index(str(os.getpid()))] = "1"
    ran = subprocess.run(words, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")


async def test_output_nobody_reads_holds_nobody_up() -> None:
    unread, full = os.pipe()
    kept = os.dup(2)
    os.dup2(full, 2)
    try:
        voice = Voice()
        for _ in range(5000):
            voice.pass_on("child", ["x" * 1000])
        voice.close()
    finally:
        os.close(unread)
        os.dup2(kept, 2)
        for fd in (full, kept):
            os.close(fd)
