"""Only the campaign's own processes are touched, and the same seed breaks the same things."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from app.faults.campaign import plan
from app.faults.reach import AlreadyDead, must_be_child
from app.faults.scenarios import SCENARIOS
from app.faults.sse import ServerSent, events_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_living_child_may_be_touched(child: subprocess.Popen[bytes]) -> None:
    must_be_child(child.pid, os.getpid())


def test_somebody_elses_process_is_never_touched(child: subprocess.Popen[bytes]) -> None:
    with pytest.raises(AlreadyDead):
        must_be_child(child.pid, os.getppid())


def test_a_dead_child_is_never_touched(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(AlreadyDead):
        must_be_child(child.pid, os.getpid())


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_breaks_the_same_things_in_the_same_order(name: str) -> None:
    first, second = (list(plan(SCENARIOS[name], random.Random(7), rounds_max=3)) for _ in range(2))
    assert first == second
    assert len(first) == 3 * sum(SCENARIOS[name].faults.values())


def test_every_control_run_says_what_the_checker_must_find() -> None:
    for name, scenario in SCENARIOS.items():
        assert bool(scenario.must_break) == name.startswith("control")


async def test_an_event_counts_when_its_blank_line_has_come() -> None:

    reader = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
    reader.feed_data(
        b"retry: 3000\nid: 1-0.1\ndata: {}\n\n: ping\n\nid: 2-0\nevent: completed\ndata: [1]\n\nid: 3-0\ndata: x\n"
    )
    reader.feed_eof()
    heard = [event async for event in events_of(reader)]
    assert heard == [ServerSent("1-0.1", "message", "{}"), ServerSent("2-0", "completed", "[1]")]
