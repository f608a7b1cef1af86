"""One embedded server as a child process. One rule: start it from the main thread, since it dies with its thread.

Linux sends the parent-death signal when the *thread* that forked ends, so a pool thread must never start one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

Identity = Literal["same", "namespace", "nobody"]

LOG_BYTES_MAX = 10_000_000
"""A server's own log starts anew above this size, so that a year of restarts cannot fill the disk."""
POLL_S = 0.01
START_S = 60.0
"""Long enough to read back an append-only file of some gigabytes or to recover Postgres after a crash."""
STOP_S = 30.0

TETHER = Path(__file__).with_name("tether.py")


class ServerFailed(Exception):
    """The server ended or did not answer in time; the message holds the end of its log."""


def tethered(program: list[str], *, at_death: signal.Signals, identity: Identity = "same") -> list[str]:
    """The command line that runs `program` so that it gets `at_death` when this process is gone (Linux)."""
    return [
        *(sys.executable, "-I", "-S", str(TETHER)),
        *(str(int(at_death)), str(os.getpid()), identity),
        *program,
    ]


def free_port() -> int:
    """A TCP port on 127.0.0.1 nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server(ABC):
    """Start, wait, stop; what it is called with and when it is ready differ."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, the password in it."""

    @abstractmethod
    def command(self) -> list[str]:
        """The tethered command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes connections now."""

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def log_file(self) -> Path:
        return self.directory / "server.log"

    def spawn(self) -> None:
        """Begin the process; main thread only."""
        fresh = not self.log_file.exists() or self.log_file.stat().st_size > LOG_BYTES_MAX
        with open(self.log_file, "wb" if fresh else "ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C in the terminal is for `up`, which stops its servers last
            )

    def wait_ready(self, within_s: float = START_S) -> None:
        """Return when it answers. Raises ServerFailed when it ends or the time is over."""
        until = time.monotonic() + within_s
        while not self.answers():
            code = self.exit_code()
            if code is not None:
                raise ServerFailed(f"{self.name} ended with {code}: {self._last_words()}")
            if time.monotonic() > until:
                raise ServerFailed(f"{self.name} did not answer within {within_s:.0f} s: {self._last_words()}")
            time.sleep(POLL_S)

    def start(self) -> None:
        """`spawn` and `wait_ready`."""
        self.spawn()
        self.wait_ready()

    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll() if self._process else None

    def wait_ended(self) -> int:
        """Block until it ends; any thread may wait."""
        return self._process.wait() if self._process else 0

    def stop(self, within_s: float = STOP_S) -> None:
        """Ask it to end with its data on disk; kill it when it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()[-5:] if self.log_file.exists() else []
        return " | ".join(lines) or "it said nothing"
