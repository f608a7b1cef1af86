"""Which of a Helix's processes holds the client's end of a connection on this machine.

One rule: the kernel is asked (`/proc`), so that nothing in the product has to say who it is. Linux only.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROLES: Final = ("web", "worker", "projector")
_LOCAL, _INODE = 1, 9
"""Columns of /proc/net/tcp."""
NOBODYS: Final = "0"
"""The inode of a connection that has ended."""


class Owners:
    """Roles by the `run.json` of an `up`."""

    def __init__(self, facts_file: Path) -> None:
        self._facts_file = facts_file

    def of(self, port: int) -> str | None:
        """The role of the process whose socket has this port of 127.0.0.1; None where none of ours has."""
        sockets = set(_sockets(port))
        if not sockets or not self._facts_file.exists():
            return None
        pids = json.loads(self._facts_file.read_text())["pids"]
        for role in ROLES:
            for pid in pids[role]:
                if not sockets.isdisjoint(_open_files(pid)):
                    return role
        return None


def _sockets(port: int) -> Iterator[str]:
    """One port may serve several connections, to different ends; one that only waits to be forgotten is nobody's."""
    wanted = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[_LOCAL] == wanted and columns[_INODE] != NOBODYS:
            yield f"socket:[{columns[_INODE]}]"


def _open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(file.readlink())
