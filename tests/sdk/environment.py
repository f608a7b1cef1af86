"""The environments that the official SDKs run in, one for each of two generations of each, and what stands on them: built
once from its lock file, and again when that changes.

One rule: they have nothing of ours in them, so what runs there is what a customer has.
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

HERE: Final = Path(__file__).parent
LOCKS: Final = HERE / "environments"
PLACE: Final = ROOT / ".venv-sdk"

WALKS: Final = {
    "openai-1": ("openai_walk.py", "responses_walk.py", "payloads_walk.py"),
    "openai": ("openai_walk.py", "responses_walk.py", "payloads_walk.py"),
    "anthropic-0": ("anthropic_walk.py", "payloads_walk.py"),
    "anthropic": ("anthropic_walk.py", "payloads_walk.py"),
}
"""Environment → what is walked in it."""

CLIENTS: Final = {"langchain": ("langchain_walk.py",), "agents": ("agents_walk.py",)}
"""The same, of clients that stand on the SDKs."""

WALK_S: Final = 200
"""All walks of one environment, on a machine with other work to do."""


def lock_of(name: str) -> Path:
    return LOCKS / f"{name}.lock"


def sdk_python(name: str) -> Path:
    """The interpreter of an environment; it takes some seconds when it must be built."""
    lock, place = lock_of(name), PLACE / name
    python, built = place / "bin" / "python", place / "built-from"
    stamp = hashlib.sha256(lock.read_bytes()).hexdigest()
    place.mkdir(exist_ok=True, parents=True)
    with open(place / "lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not built.exists() or built.read_text() != stamp:
            built.unlink(missing_ok=True)
            venv.create(place, with_pip=True, symlinks=True)
            install = ["-m", "pip", "install", "--require-hashes", "--no-input", "--disable-pip-version-check", "-q"]
            subprocess.run([str(python), *install, "-r", str(lock)], check=True)
            built.write_text(stamp)
    return python


def walk(name: str, **environment: str) -> str:
    """What the walks of an environment have found, as JSON."""
    scripts = [str(HERE / script) for script in ("walking.py", *(WALKS | CLIENTS)[name])]
    ran = subprocess.run(
        [str(sdk_python(name)), "-I", *scripts],
        capture_output=True,
        text=True,
        timeout=WALK_S,
        env={"PATH": os.environ["PATH"], **environment},
    )
    sys.stderr.write(ran.stderr)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
