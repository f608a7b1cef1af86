"""Small C libraries that are loaded into a server or a process of ours to see or to shift something in it.

One rule: they need Linux and a C compiler; where there is none, the scenario says that it cannot be run, and nothing
is claimed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent


class CannotRun(Exception):
    """This machine lacks what a scenario needs; the message says what."""


def build(name: str, into: Path) -> Path:
    """`<name>.c` beside this file as a library in a directory. Raises CannotRun."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler or sys.platform != "linux":
        raise CannotRun(f"{name} needs Linux and a C compiler")
    library = into / f"{name}.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_HERE / f"{name}.c"), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        raise CannotRun(f"{name} cannot be built: {built.stderr.strip()[:300]}")
    return library
