"""Valkey as the log (nothing acknowledged is lost) or as the cache (nothing is kept). One rule: never both in one.

Eviction is a setting of the whole server: a cache beside the log would push the log's entries out of memory.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Literal

from app.embedded.binaries import valkey_server
from app.embedded.server import Server, tethered
from app.kept import kept, private_directory, write_private

CACHE_BYTES_MAX = 128 * 1024 * 1024
LOG_MEMORY_SHARE = 0.5
"""Of the machine's memory: a log that is full refuses to write, a log the kernel kills takes all with it."""
ANSWER_S = 1.0
REPLY_BYTES = 64

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
        self._password = kept(self.directory / "password")

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        config = self.directory / "valkey.conf"
        # A file, since a command line is for everybody's eyes; relative paths, since the directory may hold spaces.
        write_private(config, self._config())
        return tethered([str(valkey_server()), str(config)], at_death=signal.SIGTERM)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), ANSWER_S) as connection:
                connection.settimeout(ANSWER_S)
                connection.sendall(f"AUTH {self._password}\r\n".encode())
                if not connection.recv(REPLY_BYTES).startswith(b"+OK"):
                    return False
                connection.sendall(b"PING\r\n")
                return connection.recv(REPLY_BYTES).startswith(b"+PONG")  # -LOADING while it reads its file
        except OSError:
            return False

    def _config(self) -> str:
        log = self._role == "log"
        memory = int(_machine_bytes() * LOG_MEMORY_SHARE) if log else CACHE_BYTES_MAX
        return (
            f"bind 127.0.0.1\nport {self.port}\nprotected-mode yes\nrequirepass {self._password}\n"
            f"daemonize no\ndir .\nmaxmemory {memory}\n{LOG_CONFIG if log else CACHE_CONFIG}"
        )


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
