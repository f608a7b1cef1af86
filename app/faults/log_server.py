"""The log server under a witness: `log_server.py REAL LIBRARY DIRECTORY APPENDFSYNC words of the server …`.

Run in the place of the server's program. When DIRECTORY holds a file `power-cut`, the machine is taken to have lost its
power: every append-only file is cut to the size that its last fsync saw, as the witness library has noted it.

One rule: standard library only; what follows is the real server, in the same process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def lose_power(data: Path, witness: Path) -> int:
    """Cut off what was never fsynced → how many bytes that were. Base files and manifests are fsynced before use."""
    lost = 0
    for file in sorted(data.glob("*.incr.aof")):
        known, size = witness / str(file.stat().st_ino), file.stat().st_size
        kept = min(size, int(known.read_text())) if known.exists() else 0
        os.truncate(file, kept)
        lost += size - kept
    return lost


def main() -> None:
    real, library, directory, appendfsync, *words = sys.argv[1:]
    witness, data = Path(directory), Path("appendonlydir")
    cut = witness / "power-cut"
    if data.is_dir() and cut.exists():
        lost = lose_power(data, witness)
        cut.rename(witness / "power-was-cut")
        with (witness / "lost-bytes").open("a") as report:
            report.write(f"{lost}\n")
    os.environ.update(LD_PRELOAD=library, HELIX_FSYNC_WITNESS=directory)
    os.execv(real, [real, *words, "--appendfsync", appendfsync])


if __name__ == "__main__":
    main()
