"""Build `.venv` from a lock file: `environment.py ROOT LOCK STAMP`, called by the launcher alone.

A script for the Python that is there before ours is; standard library only, nothing of Helix. One rule: the stamp is
written last, so an environment without it is half built, whoever broke it off, and is built again.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

SHOWN = re.compile(r"^\s*(Collecting|Building wheel for|Installing collected packages|ERROR|error)\b")


def say(text: str) -> None:
    """On standard error: standard output belongs to the command that follows."""
    print(f"helix: {text}", file=sys.stderr, flush=True)  # noqa: T201  # the launcher talks to a person


def build(root: Path, lock: str, stamp: str) -> None:
    """Make `.venv`, or add what the larger lock has when the smaller one is built and unchanged. Exits on failure."""
    place, stamps = root / ".venv", root / ".venv" / "built-from"
    built = stamps.read_text().splitlines() if stamps.exists() else []
    if stamp in built:
        say("built meanwhile by another call")
        return
    adds = lock != "requirements.lock" and _current(root, "requirements.lock") in built
    stamps.unlink(missing_ok=True)
    if not adds:
        shutil.rmtree(place, ignore_errors=True)
        say(f"making .venv with Python {sys.version.split()[0]}")
        venv.create(place, with_pip=True, symlinks=True)
    say(f"installing {lock} (once; some minutes on a slow line)")
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "--require-hashes", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "-r", str(root / lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        tail: list[str] = []
        for line in pip.stdout or ():
            tail = [*tail[-20:], line.rstrip()]
            if SHOWN.match(line):
                say("  " + line.strip()[:100])
    if pip.returncode != 0:
        say("\n".join(["pip could not install the packages:", *tail]))
        sys.exit(1)
    whole = [stamp] if lock == "requirements.lock" else [_current(root, "requirements.lock"), stamp]
    stamps.write_text("".join(f"{line}\n" for line in whole))
    say("ready")


def _current(root: Path, lock: str) -> str:
    """The stamp of a lock file as it is now, as the launcher writes it."""
    with open(root / lock, "rb") as file:
        return f"{lock} {subprocess.run(['cksum'], stdin=file, capture_output=True, text=True).stdout.strip()}"  # noqa: S607  # POSIX


def main() -> None:
    root, lock, stamp = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with open(root / ".venv.lock", "w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another call is building .venv; waiting for it")
            fcntl.flock(turn, fcntl.LOCK_EX)
        build(root, lock, stamp)


if __name__ == "__main__":
    main()
