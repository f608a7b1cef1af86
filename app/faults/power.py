"""Losing the power of the log: a log server whose every fsync is witnessed, and whose file can be cut to the last one.

One rule: it needs a C compiler; where there is none, the scenario says that it cannot be run, and nothing is claimed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

from app.embedded.binaries import valkey_server

_HERE: Final = Path(__file__).parent


class CannotRun(Exception):
    """This machine lacks what a scenario needs; the message says what."""


class PowerCuts:
    """A directory with the witness, and a program that stands in for the log server's."""

    def __init__(self, directory: Path, appendfsync: Literal["always", "everysec"]) -> None:
        """Raises CannotRun."""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler or sys.platform != "linux":
            raise CannotRun("a power cut needs Linux and a C compiler, for the library that witnesses each fsync")
        self._directory = directory
        directory.mkdir(mode=0o700)
        library = directory / "fsync_witness.so"
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_HERE / "fsync_witness.c"), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode != 0:
            raise CannotRun(f"the library that witnesses each fsync cannot be built: {built.stderr.strip()[:300]}")
        words = [sys.executable, "-I", "-S", str(_HERE / "log_server.py"), str(valkey_server())]
        words += [str(library), str(directory), appendfsync]
        self.program = directory / "valkey-server"
        """For HELIX_VALKEY_BIN."""
        self.program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        self.program.chmod(0o700)

    def cut(self, pid: int) -> None:
        """Kill the server; its next start finds only what was fsynced."""
        (self._directory / "power-cut").touch()
        os.kill(pid, signal.SIGKILL)

    def lost_bytes(self) -> list[int]:
        """What each power cut so far has cost."""
        report = self._directory / "lost-bytes"
        return [int(line) for line in report.read_text().split()] if report.exists() else []
