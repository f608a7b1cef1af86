"""The data directory of an `up`: who may use it, its secrets, and the facts about the one that runs.

One rule: the lock on it is the only proof that an `up` runs; files can be left over from one that was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO, Final, TypedDict

from app.kept import kept, write_private

ROOT: Final = Path(__file__).parent.parent.parent
TURN_S: Final = 1.0
"""Commands beside an `up` look at the lock for an instant; starting waits this long for them to look away."""
POLL_S: Final = 0.05
MAILS: Final = "mails"
"""Where an `up` without a mail server keeps what it would have sent."""


class Pids(TypedDict):
    web: list[int]
    worker: list[int]
    projector: list[int]
    log: list[int]
    cache: list[int]
    postgres: list[int]


class Facts(TypedDict):
    """What `up --json` prints and `run.json` holds; the contract's words."""

    ready: bool
    base_url: str
    api_key: str
    admin_key: str
    database_url: str
    redis_url: str
    cache_url: str
    pids: Pids


class InUse(Exception):
    """Another `up` runs on this directory."""


def default_directory() -> Path:
    """HELIX_DATA, or `.data` beside the launcher."""
    return Path(os.environ.get("HELIX_DATA") or ROOT / ".data")


class Directory:
    """A directory that is ours; made when missing."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path.resolve()
        if os.geteuid() == 0:
            # Where Postgres must run as `nobody`, it passes through here; nothing in it can be listed or read.
            self.path.chmod(0o711)
        self._lock: IO[str] | None = None

    def secret(self, name: str) -> str:
        """32 random bytes in hexadecimal, the same at every start."""
        return kept(self._secrets() / name)

    def secret_file(self, name: str) -> Path:
        """Where a secret of another shape is kept."""
        return self._secrets() / name

    def take(self) -> None:
        """Hold the directory until `release`, or until this process ends. Raises InUse."""
        lock = open(self.path / "lock", "a+")  # noqa: SIM115  # held beyond this function
        until = time.monotonic() + TURN_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    lock.close()
                    raise InUse(f"another `helix up` runs on {self.path}: stop it, or choose another --data") from None
                time.sleep(POLL_S)
        self._lock = lock
        self.forget()

    def release(self) -> None:
        if self._lock:
            self._lock.close()

    def taken(self) -> bool:
        """Whether an `up` runs on it."""
        with open(self.path / "lock", "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def publish(self, facts: Facts) -> None:
        write_private(self._facts, json.dumps(facts) + "\n")

    def forget(self) -> None:
        self._facts.unlink(missing_ok=True)

    def facts(self) -> Facts | None:
        """Of the `up` that runs here and is ready; None where there is none."""
        if not self.taken() or not self._facts.exists():
            return None
        facts: Facts = json.loads(self._facts.read_text())
        return facts

    @property
    def _facts(self) -> Path:
        return self.path / "run.json"

    def _secrets(self) -> Path:
        place = self.path / "secrets"
        place.mkdir(exist_ok=True, mode=0o700)
        return place
