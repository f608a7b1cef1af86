"""Losing the power of the log: a log server whose every fsync is witnessed, and whose file can be cut to the last one.

One rule: the file is cut behind the server's back, while it is dead, as a power cut would.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Final, Literal

from app.embedded.binaries import valkey_server
from app.faults.preload import build

_HERE: Final = Path(__file__).parent


class PowerCuts:
    """A directory with the witness, and a program that stands in for the log server's."""

    def __init__(self, directory: Path, appendfsync: Literal["always", "everysec"]) -> None:
        """Raises preload.CannotRun."""
        self._directory = directory
        directory.mkdir(mode=0o700)
        library = build("fsync_witness", directory)
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
