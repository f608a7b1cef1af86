"""Valkey as the log (nothing acknowledged is lost) or as the cache (nothing is kept). One rule: never both in one.

Eviction is a setting of the whole server: a cache beside the log would push the log's entries out of memory.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Literal

from app.embedded.binaries import valkey_server
from app.embedded.server import POLL_S, Server, ServerFailed, tethered
from app.kept import kept, private_directory, write_private

CACHE_BYTES_MAX = 128 * 1024 * 1024
LOG_MEMORY_SHARE = 0.5
"""Of the machine's memory: a log that is full refuses to write, a log the kernel kills takes all with it."""
ANSWER_S = 1.0
REPLY_BYTES = 64
ORPHAN_S = 10.0
"""How long a server of a killed `up` may take to put its file in order."""
PORT_LINE = re.compile(r"^port (\d+)$", re.MULTILINE)

LOG_CONFIG = """\
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""
CACHE_CONFIG = """\
appendonly no
save ""
maxmemory-policy allkeys-lru
"""


class Valkey(Server):
    """One server on 127.0.0.1 with a generated password, its data under `directory`."""

    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, role: Literal["log", "cache"], port: int = 0) -> None:
        super().__init__(private_directory(directory), port)
        self.name = role
        self._role = role
        self._config_file = self.directory / "valkey.conf"
        self._password = kept(self.directory / "password")

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        # A file, since a command line is for everybody's eyes.
        write_private(self._config_file, self._config())
        return tethered([str(valkey_server()), str(self._config_file)], at_death=signal.SIGTERM)

    def spawn(self) -> None:
        self._end_orphan()
        super().spawn()

    def answers(self) -> bool:
        return self._ask(self.port, "PING").startswith(b"+PONG")  # -LOADING while it reads its file

    def _end_orphan(self) -> None:
        """End what a killed `up` left on this directory: two servers would write into one append-only file."""
        found = PORT_LINE.search(self._config_file.read_text()) if self._config_file.exists() else None
        if not found:
            return
        port, until = int(found[1]), time.monotonic() + ORPHAN_S
        while self._ask(port, "PING"):  # the password is this directory's alone, so it is ours or nobody's
            self._ask(port, "SHUTDOWN")
            if time.monotonic() > until:
                raise ServerFailed(f"another server uses {self.directory} and does not end: see port {port}")
            time.sleep(POLL_S)

    def _ask(self, port: int, command: str) -> bytes:
        """The first bytes of the reply; none when nobody answers there, or not to our password."""
        try:
            with socket.create_connection(("127.0.0.1", port), ANSWER_S) as connection:
                connection.sendall(f"AUTH {self._password}\r\n".encode())
                if not connection.recv(REPLY_BYTES).startswith(b"+OK"):
                    return b""
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(REPLY_BYTES)
        except OSError:
            return b""

    def _config(self) -> str:
        log = self._role == "log"
        memory = int(_machine_bytes() * LOG_MEMORY_SHARE) if log else CACHE_BYTES_MAX
        return (
            f"bind 127.0.0.1\nport {self.port}\nprotected-mode yes\nrequirepass {self._password}\n"
            f"daemonize no\ndir .\nmaxmemory {memory}\n{LOG_CONFIG if log else CACHE_CONFIG}"
        )


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
