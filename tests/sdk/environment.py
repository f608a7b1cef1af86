"""The environment that the official SDKs run in: built once from the lock file, and again when that changes.

One rule: it has nothing of ours in it, so what runs there is what a customer has.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from app.up.directory import ROOT

LOCK: Final = Path(__file__).parent / "requirements.lock"
PLACE: Final = ROOT / ".venv-sdk"


def sdk_python() -> Path:
    """The interpreter of the environment; it takes some seconds when it must be built."""
    python = PLACE / "bin" / "python"
    stamp, built = hashlib.sha256(LOCK.read_bytes()).hexdigest(), PLACE / "built-from"
    PLACE.mkdir(exist_ok=True)
    with open(PLACE / "lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not built.exists() or built.read_text() != stamp:
            built.unlink(missing_ok=True)
            venv.create(PLACE, with_pip=True, symlinks=True)
            install = ["-m", "pip", "install", "--require-hashes", "--no-input", "--disable-pip-version-check", "-q"]
            subprocess.run([str(python), *install, "-r", str(LOCK)], check=True)
            built.write_text(stamp)
    return python


def run_script(name: str, **environment: str) -> str:
    """What the script beside this file prints, run there."""
    ran = subprocess.run(
        [str(sdk_python()), "-I", str(Path(__file__).parent / name)],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PATH": os.environ["PATH"], **environment},
    )
    sys.stderr.write(ran.stderr)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
