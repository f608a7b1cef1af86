"""CPU time and memory of a tree of processes, by role. One rule: every process of the thing measured is counted.

A child that has ended is not lost: the system adds its CPU time to the parent that waited for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import psutil  # type: ignore[import-untyped]  # it carries no types, and its stubs are no dependency of ours

SUPERVISOR: Final = "supervisor"
"""The role of the tree's root, and of children that nobody gave a role."""

_SAMPLE_S: Final = 0.5
"""How often memory is looked at: often enough for a peak that lasts, seldom enough to cost nothing."""


class Processes:
    """The processes below (and with) `root` and below the pids of each role.

    A process has the role of its nearest ancestor that has one. Roles are looked up by pid once; the trees are walked
    anew at each reading, since servers fork as they work.
    """

    def __init__(self, root: int, roles: Mapping[str, Sequence[int]]) -> None:
        self._roles = {root: SUPERVISOR}
        self._roles.update({pid: role for role, pids in roles.items() for pid in pids})

    def _living(self) -> dict[psutil.Process, str]:
        found: dict[psutil.Process, str] = {}
        for pid, role in self._roles.items():
            try:
                tops = [psutil.Process(pid)]
                found[tops[0]] = role
                while tops:
                    children = [child for child in tops.pop().children() if child.pid not in self._roles]
                    found.update(dict.fromkeys(children, role))
                    tops += children
            except psutil.NoSuchProcess:
                continue
        return found

    def cpu_s(self) -> dict[str, float]:
        """Role → seconds of CPU time since its processes began, user and system, children that have ended included."""
        spent: defaultdict[str, float] = defaultdict(float)
        for process, role in self._living().items():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent[role] += times.user + times.system + times.children_user + times.children_system
        return dict(spent)

    def memory_bytes(self) -> dict[str, int]:
        """Role → resident memory: what is each process's own, and the largest shared part once.

        Where the system does not tell what is shared (macOS), shared pages are counted for each process.
        """
        own: defaultdict[str, int] = defaultdict(int)
        shared: defaultdict[str, int] = defaultdict(int)
        for process, role in self._living().items():
            try:
                memory = process.memory_info()
            except psutil.NoSuchProcess:
                continue
            with_others = getattr(memory, "shared", 0)
            own[role] += memory.rss - with_others
            shared[role] = max(shared[role], with_others)
        return {role: own[role] + shared[role] for role in own}

    def stopped(self, role: str) -> list[psutil.Process]:
        """Freeze a role's processes and return them; the caller must `resume()` each."""
        processes = [process for process, name in self._living().items() if name == role]
        for process in processes:
            process.suspend()
        return processes


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Two readings of `cpu_s` → role → seconds between them."""
    return {role: after[role] - before.get(role, 0.0) for role in after}


def machine_cpu_s() -> float:
    """Seconds that the cores of this machine have worked, all together, for whomever."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


class Peak:
    """The most memory each role has had, as far as samples show."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}

    def see(self, sample: Mapping[str, int]) -> None:
        for role, size in sample.items():
            self.bytes[role] = max(size, self.bytes.get(role, 0))


@asynccontextmanager
async def watching(processes: Processes) -> AsyncIterator[Peak]:
    """Sample memory until the block ends."""
    peak = Peak()

    async def sample() -> None:
        while True:
            peak.see(await asyncio.to_thread(processes.memory_bytes))
            await asyncio.sleep(_SAMPLE_S)

    sampling = asyncio.create_task(sample())
    try:
        yield peak
        peak.see(processes.memory_bytes())
    finally:
        sampling.cancel()
