"""A disk that is full when the test says so: a small file system of its own where one may be mounted, else a limit on
the size of the log server's files.

One rule: the server meets a write that fails, and nothing of it is replaced.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from app.embedded.binaries import valkey_server

DISK_BYTES = 48 * 2**20
BLOCK_BYTES = 1024
"""What `ulimit -f` counts in, in the shell that is used here."""


class Disk(Protocol):
    """`environment` is for the `up` whose log lies on it."""

    environment: dict[str, str]

    def fill(self) -> None: ...
    def free(self) -> None: ...


class Mounted:
    """A file system in memory."""

    def __init__(self, place: Path) -> None:
        self.environment: dict[str, str] = {}
        self._filler = place / "filler"

    def fill(self) -> None:
        with open(self._filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**16))
            except OSError:
                return

    def free(self) -> None:
        self._filler.unlink()


class Limited:
    """A server whose files cannot grow. It is told of it as of a full disk: by a write that fails."""

    def __init__(self, place: Path, scratch: Path, pid_of: Callable[[], int]) -> None:
        self._place = place
        self._limit = scratch / "limit"
        self._pid_of = pid_of
        program = scratch / "valkey-server"
        words = f'trap "" XFSZ\n[ -f {shlex.quote(str(self._limit))} ] && ulimit -f "$(cat {shlex.quote(str(self._limit))})"'
        program.write_text(f'#!/bin/bash\n{words}\nexec {shlex.quote(str(valkey_server()))} "$@"\n')
        program.chmod(0o700)
        self.environment = {"HELIX_VALKEY_BIN": str(program)}

    def fill(self) -> None:
        (file,) = self._place.glob("appendonlydir/*.incr.aof")
        size = file.stat().st_size
        self._limit.write_text(str(size // BLOCK_BYTES))
        _, hard = resource.prlimit(self._pid_of(), resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid_of(), resource.RLIMIT_FSIZE, (size, hard))

    def free(self) -> None:
        self._limit.unlink()
        with contextlib.suppress(ProcessLookupError):  # it has just ended, and the next one is not limited
            _, hard = resource.prlimit(self._pid_of(), resource.RLIMIT_FSIZE)
            resource.prlimit(self._pid_of(), resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def small_disk(place: Path, scratch: Path, pid_of: Callable[[], int]) -> Iterator[Disk]:
    """What lies at `place`, an empty directory, lies on a small disk. `pid_of` is the log server that runs."""
    if _mounted(place):
        try:
            yield Mounted(place)
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
    else:
        yield Limited(place, scratch, pid_of)


def _mounted(place: Path) -> bool:
    if os.geteuid() != 0:
        return False
    size = f"size={DISK_BYTES}"
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], capture_output=True).returncode == 0
    )
