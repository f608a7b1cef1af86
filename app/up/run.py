"""From nothing to ready, and back to nothing. One rule: the order of the end is the order of the road.

First nobody new is let in, then what is under way is finished, then it is remembered, and the servers go last.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

from app.embedded.binaries import BinaryMissing
from app.embedded.server import ServerFailed
from app.up.answers import answers
from app.up.directory import Directory, Facts, InUse
from app.up.plan import Plan, plan
from app.up.supervisor import Child, ServerChild, StartFailed, Supervisor
from app.up.voice import Voice

END_S: Final = {"web": 35.0, "worker": 35.0, "projector": 15.0, "sandbox": 5.0, "servers": 30.0}
"""A little more than each takes to drain by itself, so that it is killed only when it hangs."""
READY_S: Final = 120.0
"""After this `up` gives up: a machine that needs longer has something else to mend."""
ASK_S: Final = 0.05
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
        self._workers: Sequence[Child] = decided.workers(workers, voice)
        self._projectors: Sequence[Child] = decided.projectors(voice)
        self._webs: Sequence[Child] = decided.webs(voice)
        self._supervisor = Supervisor(voice, self._changed)
        self._ready = False

    async def begin(self) -> Facts:
        """Start everything. Raises StartFailed, ServerFailed, NotReady; `end` is due whatever comes."""
        self._voice.say(f"starting {', '.join(self._servers) or 'no server of its own'} in {self._directory.path}")
        await self._supervisor.begin(*self._servers.values())
        self._voice.say("bringing the database to today's schema")
        prepare = self._plan.prepare(self._voice)
        await prepare.start()
        try:
            code = await prepare.ended()
        finally:
            await prepare.stop(0)
        if code != 0:
            raise StartFailed(f"the preparation of the database ended with {code}")
        self._voice.say("starting worker, projector and web")
        await self._supervisor.begin(*self._sandboxes, *self._workers, *self._projectors, *self._webs)
        while not await answers(f"{self._plan.base_url}/readyz"):  # noqa: ASYNC110  # the event happens in others' processes
            await asyncio.sleep(ASK_S)
        self._ready = True
        facts = self._facts()
        self._directory.publish(facts)
        return facts

    async def end(self) -> None:
        """Stop everything that runs, in order."""
        self._ready = False
        self._directory.forget()
        self._plan.listener.close()
        await self._end(self._webs, END_S["web"])
        await self._end(self._workers, END_S["worker"])
        await self._end(self._projectors, END_S["projector"])
        await self._end(self._sandboxes, END_S["sandbox"])
        await self._end(list(self._servers.values()), END_S["servers"])

    def kill(self) -> None:
        """Somebody is in a hurry: whatever is left of ours is killed; the servers still end in good order."""
        for child in (*self._webs, *self._workers, *self._projectors, *self._sandboxes):
            child.kill()

    async def _end(self, children: Sequence[Child], within_s: float) -> None:
        await asyncio.gather(*(self._supervisor.end(child, within_s) for child in children))

    def _facts(self) -> Facts:
        facts = self._plan.facts()
        pids = facts["pids"]
        pids["web"] = [child.pid for child in self._webs]
        pids["worker"] = [child.pid for child in self._workers]
        pids["projector"] = [child.pid for child in self._projectors]
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
    stop = asyncio.Event()
    _on_signals(_stopper(stop, up, voice))
    try:
        facts = await _unless(stop, up.begin())
        if facts is None:
            return STOPPED
        print(json.dumps(facts) if as_json else _prose(facts), flush=True)  # noqa: T201  # the ready line
        await stop.wait()
        return 0
    except (StartFailed, NotReady) as failed:
        voice.say(str(failed))
        return 1
    finally:
        await up.end()
        voice.say("stopped")


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


def _on_signals(told: Callable[[], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told)


def _prose(facts: Facts) -> str:
    return f"Helix is ready at {facts['base_url']}  key {facts['api_key']}  (operator {facts['admin_key']}; Ctrl-C stops it)"
