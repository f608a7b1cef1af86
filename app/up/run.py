"""From nothing to ready, through restarts, and back to nothing. One rule: the order of the end is the order of the road.

First nobody new is let in, then what is under way is finished, then it is remembered, and the servers go last. A rolling
restart goes the other way: who reads is new before who writes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

from app.embedded.binaries import BinaryMissing
from app.embedded.server import ServerFailed
from app.up.answers import answers
from app.up.directory import Directory, Facts, InUse
from app.up.plan import Plan, plan
from app.up.program import Program
from app.up.supervisor import Child, ServerChild, StartFailed, Supervisor
from app.up.voice import Voice

END_S: Final = {"web": 35.0, "worker": 35.0, "projector": 15.0, "sandbox": 5.0, "servers": 30.0}
"""A little more than each takes to drain by itself, so that it is killed only when it hangs."""
READY_S: Final = 120.0
"""After this `up` gives up: a machine that needs longer has something else to mend."""
ASK_S: Final = 0.05
ROLLING: Final = ("projector", "worker", "web")
"""The order of a rolling restart: what a new process writes can be read by those behind it on the road. The sandbox stays:
it is the provider of the moment, and providers are not ours to restart."""
STOPPED: Final = 130
"""The exit code of one who was stopped before he was ready, as shells have it for Ctrl-C."""


class NotReady(Exception):
    """The time was over before everything answered."""


class Up:
    """One run."""

    def __init__(self, directory: Directory, decided: Plan, voice: Voice, workers: int) -> None:
        self._directory = directory
        self._plan = decided
        self._voice = voice
        self._servers: Mapping[str, Child] = {name: ServerChild(each) for name, each in decided.servers.items()}
        self._sandboxes: Sequence[Child] = decided.sandboxes(voice)
        self._roles = {
            "web": decided.webs(voice),
            "worker": decided.workers(workers, voice),
            "projector": decided.projectors(voice),
        }
        self._supervisor = Supervisor(voice, self._changed)
        self._ready = False

    async def begin(self) -> Facts:
        """Start everything. Raises StartFailed, ServerFailed, NotReady; `end` is due whatever comes."""
        self._voice.say(f"starting {', '.join(self._servers) or 'no server of its own'} in {self._directory.path}")
        await self._supervisor.begin(*self._servers.values())
        await self._prepare()
        self._voice.say("starting worker, projector and web")
        ours = [program for role in ROLLING for program in self._roles[role]]
        await self._supervisor.begin(*self._sandboxes, *ours)
        while not await answers(f"{self._plan.base_url}/readyz"):  # noqa: ASYNC110  # the event happens in others' processes
            await asyncio.sleep(ASK_S)
        self._ready = True
        facts = self._facts()
        self._directory.publish(facts)
        return facts

    async def restart(self) -> None:
        """Every process of ours anew, one after the other: a successor is ready before its predecessor is told to end.

        Raises StartFailed when one cannot begin: it and those behind it stay as they were.
        """
        await self._prepare()
        for role in ROLLING:
            programs = self._roles[role]
            for old in list(programs):
                new = old.successor()
                programs.insert(programs.index(old), new)
                try:
                    await self._supervisor.replace(old, new, ready_s=READY_S, drain_s=END_S[role])
                except StartFailed:
                    programs.remove(new)
                    raise
                programs.remove(old)
                self._changed()

    async def end(self) -> None:
        """Stop everything that runs, in order."""
        self._ready = False
        self._directory.forget()
        self._plan.listener.close()
        for role in ("web", "worker", "projector"):
            await self._end(self._roles[role], END_S[role])
        await self._end(self._sandboxes, END_S["sandbox"])
        await self._end(list(self._servers.values()), END_S["servers"])

    def kill(self) -> None:
        """Somebody is in a hurry: whatever is left of ours is killed; the servers still end in good order."""
        for child in (*(each for role in self._roles.values() for each in role), *self._sandboxes):
            child.kill()

    async def _prepare(self) -> None:
        self._voice.say("bringing the database to today's schema")
        prepare = self._plan.prepare(self._voice)
        await prepare.start()
        try:
            code = await prepare.ended()
        finally:
            await prepare.stop(0)
        if code != 0:
            raise StartFailed(f"the preparation of the database ended with {code}")

    async def _end(self, children: Sequence[Child], within_s: float) -> None:
        await asyncio.gather(*(self._supervisor.end(child, within_s) for child in children))

    def _facts(self) -> Facts:
        facts = self._plan.facts()
        pids = facts["pids"]
        pids["web"] = _running(self._roles["web"])
        pids["worker"] = _running(self._roles["worker"])
        pids["projector"] = _running(self._roles["projector"])
        pids["log"] = [child.pid for name, child in self._servers.items() if name == "log"]
        pids["cache"] = [child.pid for name, child in self._servers.items() if name == "cache"]
        pids["postgres"] = [child.pid for name, child in self._servers.items() if name == "postgres"]
        return facts

    def _changed(self) -> None:
        if self._ready:
            self._directory.publish(self._facts())


def run(path: Path, host: str, port: int, workers: int, as_json: bool) -> int:
    """Everything, until SIGTERM or Ctrl-C. → exit code."""
    voice = Voice()
    directory: Directory | None = None
    try:
        directory = Directory(path)
        directory.take()
        decided = plan(directory, host, port)
        return asyncio.run(_live(Up(directory, decided, voice, workers), voice, as_json))
    except (InUse, BinaryMissing, ServerFailed) as refused:
        voice.say(str(refused))
    except OSError as refused:
        voice.say(f"{host}:{port}: {refused.strerror or refused}" if not refused.filename else str(refused))
    finally:
        if directory:
            directory.release()
        voice.close()
    return 1


async def _live(up: Up, voice: Voice, as_json: bool) -> int:
    stop, restart = asyncio.Event(), asyncio.Event()
    _on_signals(_stopper(stop, up, voice), restart)
    try:
        facts = await _unless(stop, up.begin())
        if facts is None:
            return STOPPED
        print(json.dumps(facts) if as_json else _prose(facts), flush=True)  # noqa: T201  # the ready line
        await _restarting_until(stop, restart, up, voice)
        return 0
    except (StartFailed, NotReady) as failed:
        voice.say(str(failed))
        return 1
    finally:
        await up.end()
        voice.say("stopped")


async def _restarting_until(stop: asyncio.Event, restart: asyncio.Event, up: Up, voice: Voice) -> None:
    """Return when told to stop, however far a restart has come by then."""

    async def restart_when_told() -> None:
        while await restart.wait():
            restart.clear()
            voice.say("restarting projectors, workers and webs, one after the other")
            try:
                await up.restart()
            except StartFailed as failed:
                voice.say(f"{failed}; it and those behind it go on as they were")
            else:
                voice.say("restarted")

    stopped, restarting = asyncio.create_task(stop.wait()), asyncio.create_task(restart_when_told())
    await asyncio.wait({stopped, restarting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, restarting):
        task.cancel()
    _, broken = await asyncio.gather(stopped, restarting, return_exceptions=True)
    if isinstance(broken, Exception):
        raise broken


async def _unless(stop: asyncio.Event, begin: Coroutine[None, None, Facts]) -> Facts | None:
    """The facts, or None when told to stop first. Raises what `begin` raises, and NotReady."""
    begun, stopped = asyncio.create_task(begin), asyncio.create_task(stop.wait())
    await asyncio.wait({begun, stopped}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if begun.done():
        return begun.result()
    begun.cancel()
    await asyncio.gather(begun, return_exceptions=True)
    if stop.is_set():
        return None
    raise NotReady(f"not ready within {READY_S:.0f} s; what is missing stands above")


def _stopper(stop: asyncio.Event, up: Up, voice: Voice) -> Callable[[], None]:
    def told() -> None:
        if stop.is_set():
            voice.say("told twice: killing what is left")
            up.kill()
        else:
            voice.say("stopping: no new requests, finishing those under way (once more: at once)")
            stop.set()

    return told


def _on_signals(told: Callable[[], None], restart: asyncio.Event) -> None:
    loop, terminal = asyncio.get_running_loop(), _has_terminal()

    def hung_up() -> None:
        """SIGHUP: from a terminal that is closed it means the end, as ever; from a person it means new processes."""
        if terminal and not _has_terminal():
            told()
        else:
            restart.set()

    loop.add_signal_handler(signal.SIGINT, told)
    loop.add_signal_handler(signal.SIGTERM, told)
    loop.add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _running(programs: Sequence[Program]) -> list[int]:
    """Pids of those that have begun: in a restart, a successor and its predecessor."""
    return [program.pid for program in programs if program.pid]


def _prose(facts: Facts) -> str:
    return f"Helix is ready at {facts['base_url']}  key {facts['api_key']}  (operator {facts['admin_key']}; Ctrl-C stops it)"
