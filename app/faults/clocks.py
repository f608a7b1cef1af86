"""The wall clocks of a Helix's processes, each to be set by itself while the process runs.

One rule: what a process has been told stays told when it is started again, as a machine's clock would.
"""

from __future__ import annotations

import struct
from pathlib import Path

from app.faults.preload import build


class Clocks:
    """A directory with one file for each clock, and the library that reads them. Raises preload.CannotRun."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self._directory = directory
        self.environment = {
            "LD_PRELOAD": str(build("clock_shift", directory)),
            "HELIX_CLOCKS": str(directory),
        }

    def shift(self, name: str, seconds: int) -> None:
        """From now on a process of this name, such as `web-1`, is so far ahead of the machine; behind, below 0.

        Raises LookupError when no process has said that this is its name: nothing would be shifted.
        """
        files = [file for file in self._directory.iterdir() if named(file.name, name)]
        if not files:
            raise LookupError(f"no process is called {name}")
        for file in files:
            with file.open("r+b") as clock:
                clock.write(struct.pack("=q", seconds))


def named(whole: str, name: str) -> bool:
    """Whether a process that calls itself by its machine's name and its own, or by its own alone, is the one called so."""
    return whole == name or whole.endswith(f"-{name}")
