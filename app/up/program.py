"""One process of ours under supervision, from start to end. One rule: it is started from the main thread.

The kernel's parent-death signal, which keeps a killed `up` from leaving children behind, belongs to a thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from app import ready
from app.embedded.server import tethered
from app.up.voice import Voice

READ_BYTES: Final = 65536
PROCESS_NAME: Final = "HELIX_PROCESS_NAME"
"""In an `up`'s environment the machine's name; each process's own has its slot behind it."""
TWIN: Final = "b"
"""Behind a slot's name, the slot's other name: `worker-1` and `worker-1b` take turns."""
LINE_BYTES_MAX: Final = 1_000_000
"""A line longer than this is passed on in pieces, so that a child cannot fill our memory."""


class Program:
    """`python -m …` with its own process group, its output passed on under its name."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        voice: Voice,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self._words = words
        self._given = environment
        self._command = tethered([sys.executable, "-m", *words], at_death=signal.SIGKILL)
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._environment[PROCESS_NAME] = "-".join(part for part in (environment.get(PROCESS_NAME), name) if part)
        self._voice = voice
        self._pass_fds = pass_fds
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._announced = asyncio.Event()
        self._told = False
        """It has had its SIGTERM."""

    def successor(self) -> Program:
        """The same program under its slot's other name: both run for a while, and a consumer's name on the log is one
        process's at a time."""
        name = self.name.removesuffix(TWIN) if self.name.endswith(TWIN) else self.name + TWIN
        return Program(name, self._words, self._given, self._voice, self._pass_fds)

    @property
    def pid(self) -> int:
        """0 before the first start."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        self._announced = asyncio.Event()
        self._told = False
        heard, spoken = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environment, ready.VARIABLE: str(spoken)},
                pass_fds=(*self._pass_fds, spoken),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            os.close(heard)
            raise
        finally:
            os.close(spoken)
        asyncio.get_running_loop().add_reader(heard, self._hear_ready, heard, self._announced)
        self._listening = asyncio.create_task(self._listen(self._process), name=f"listen to {self.name}")

    async def announced(self) -> None:
        """Return when this start has said that it is ready."""
        await self._announced.wait()

    async def ended(self) -> int:
        """Return its exit code when it has ended and all it said has been passed on."""
        if self._process is None:
            return 0
        code = await self._process.wait()
        if self._listening:
            await self._listening
        return code

    async def stop(self, within_s: float) -> None:
        """SIGTERM, and SIGKILL to its whole group after the time. Who is cancelled here leaves it draining, for the next
        call to wait for."""
        if self._process is None:
            return
        if self._process.returncode is not None:
            self.kill()  # what it may have left in its group
            return
        if not self._told:
            self._told = True
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), within_s)
        except TimeoutError:
            self._voice.say(f"{self.name} did not end within {within_s:.0f} s and was killed")
            self.kill()
            await self._process.wait()
        self.kill()

    def kill(self) -> None:
        """It and its own children, which nobody else would end."""
        if self._process is None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # all gone; macOS says PermissionError for a group of the dead

    @staticmethod
    def _hear_ready(heard: int, announced: asyncio.Event) -> None:
        if os.read(heard, 1):
            announced.set()
        asyncio.get_running_loop().remove_reader(heard)
        os.close(heard)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        rest = b""
        output = process.stdout
        while output and (piece := await output.read(READ_BYTES)):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines, rest = [*lines, rest], b""
            self._voice.pass_on(self.name, [line.decode(errors="replace") for line in lines])
        if rest:
            self._voice.pass_on(self.name, [rest.decode(errors="replace")])
