"""CPU and memory are counted for every process of a tree, the ended ones too."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from app.bench.measure import SUPERVISOR, Peak, Processes, machine_cpu_s, spent, watching

BURN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
"""Uses two tenths of a second of CPU."""

PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
print("ended", flush=True)
sys.stdin.read()
"""
"""Has a child that burns and ends, then waits to be let go."""


@pytest.fixture
def waiting() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def let_go(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


def test_the_cpu_of_a_child_that_has_ended_is_its_parents(waiting: subprocess.Popen[bytes]) -> None:
    assert waiting.stdout
    waiting.stdout.readline()
    burnt = Processes(waiting.pid, {}).cpu_s()
    let_go(waiting)
    assert burnt[SUPERVISOR] >= 0.15


def test_a_process_is_counted_once_under_the_role_of_its_nearest_ancestor(waiting: subprocess.Popen[bytes]) -> None:
    below = Processes(waiting.pid, {"worker": [waiting.pid]}).cpu_s()
    assert set(below) == {"worker"}
    both = Processes(1, {"worker": [waiting.pid]}).memory_bytes()
    let_go(waiting)
    assert both["worker"] > 0


def test_a_role_that_is_gone_costs_nothing(waiting: subprocess.Popen[bytes]) -> None:
    processes = Processes(waiting.pid, {"worker": [waiting.pid]})
    let_go(waiting)
    assert processes.cpu_s() == {}
    assert processes.memory_bytes() == {}


def test_a_stopped_role_goes_on_when_it_is_let(waiting: subprocess.Popen[bytes]) -> None:
    stopped = Processes(waiting.pid, {"projector": [waiting.pid]}).stopped("projector")
    assert waiting.pid in [process.pid for process in stopped]
    for process in stopped:
        process.resume()
    let_go(waiting)
    assert waiting.returncode == 0


def test_what_was_spent_is_the_difference_and_a_new_role_counts_whole() -> None:
    assert spent({"web": 1.0}, {"web": 1.5, "worker": 2.0}) == {"web": 0.5, "worker": 2.0}


def test_a_peak_is_never_forgotten() -> None:
    peak = Peak()
    peak.see({"web": 5, "worker": 1})
    peak.see({"web": 3, "worker": 4})
    assert peak.bytes == {"web": 5, "worker": 4}


async def test_watching_ends_with_a_last_look(waiting: subprocess.Popen[bytes]) -> None:
    async with watching(Processes(waiting.pid, {})) as peak:
        await asyncio.sleep(0)
    let_go(waiting)
    assert peak.bytes[SUPERVISOR] > 0


def test_the_machine_has_worked_at_least_as_long_as_a_process_of_its_own(waiting: subprocess.Popen[bytes]) -> None:
    own = sum(Processes(waiting.pid, {}).cpu_s().values())
    let_go(waiting)
    assert machine_cpu_s() >= own
