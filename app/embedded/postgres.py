"""Postgres on 127.0.0.1 with a generated password. One rule: works for root too, without touching what is not ours.

Postgres refuses to run as root. First choice for root is a user namespace in which we are `nobody` and the disk still
sees root, so the data may lie below a directory closed to everybody. Where the kernel or a container forbids that, the
server runs as the real `nobody`, in a directory that must then be reachable for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from app.embedded.binaries import postgres_bin
from app.embedded.server import POLL_S, Identity, Server, ServerFailed, tethered
from app.embedded.tether import NOBODY
from app.kept import kept, private_directory

USER = "helix"
DATABASE = "helix"
ORPHAN_S = 10.0
"""How long a server of a killed `up` may take to end before it is killed."""
STATUS_LINE = 7
"""Of `postmaster.pid`, counted from 0: what `pg_ctl` reads to know that connections are taken."""

CONFIG: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "max_connections": "200",  # web, worker and projector processes times MAX_DB_CONNECTIONS, with room
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


BUILTIN_LOCALE_SINCE = 17


class Postgres(Server):
    """One server with one database, its data under `directory`; `config` overrides its settings.

    `identity` is found out where it is not given. Raises BinaryMissing, ServerFailed.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # fast: ends the sessions, keeps what was committed

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        config: Mapping[str, str] | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(private_directory(directory), port)
        self._config = {**CONFIG, **(config or {})}
        self._data = self.directory / "data"
        self._password = kept(self.directory / "password")
        self._identity = identity or identity_of_postgres()
        self._bin = postgres_bin()
        if self._identity == "nobody":
            self._bin = open_to_nobody(self.directory, self._bin)

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The address of another database on this server."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def spawn(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        _end_orphan(self._data)
        super().spawn()

    def command(self) -> list[str]:
        settings = dict(self._config, port=str(self.port))
        if any((self._bin.parent / "lib").rglob("pg_stat_statements.*")):
            settings.setdefault("shared_preload_libraries", "pg_stat_statements")
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._tethered("postgres", "-D", str(self._data), *words)

    def answers(self) -> bool:
        lines = _pid_file(self._data)
        return len(lines) > STATUS_LINE and lines[0] == str(self.pid) and lines[STATUS_LINE].strip() == "ready"

    def _initialize(self) -> None:
        """Made beside and renamed when whole: a killed first start leaves nothing half made in the way."""
        beside = self.directory / "data.new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        password = self.directory / "password"
        if self._identity == "nobody":
            os.chown(beside, NOBODY, NOBODY)
            os.chown(password, NOBODY, NOBODY)
        self._run(
            *("initdb", "-D", str(beside), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", *self._locale()),
        )
        self._run("postgres", "--single", "-D", str(beside), "postgres", text=f"CREATE DATABASE {DATABASE};\n")
        beside.rename(self._data)

    def _locale(self) -> tuple[str, ...]:
        """Sorting by code point, the same on every machine: Postgres' own from 17 on, before that the C library's."""
        said = subprocess.run([self._bin / "initdb", "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"\d+", said)
        builtin = version is not None and int(version[0]) >= BUILTIN_LOCALE_SINCE
        return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if builtin else ("--locale=C",)

    def _run(self, *words: str, text: str = "") -> None:
        ran = subprocess.run(self._tethered(*words), input=text, text=True, capture_output=True, cwd=self.directory)
        if ran.returncode != 0:
            raise ServerFailed(f"{words[0]} ended with {ran.returncode}: {(ran.stderr or ran.stdout).strip()}")

    def _tethered(self, program: str, *words: str) -> list[str]:
        return tethered([str(self._bin / program), *words], at_death=signal.SIGINT, identity=self._identity)


def identity_of_postgres() -> Identity:
    """As whom it can run when we start it."""
    if os.geteuid() != 0:
        return "same"
    probe = tethered(["/bin/true"], at_death=signal.SIGINT, identity="namespace")
    return "namespace" if subprocess.run(probe, capture_output=True).returncode == 0 else "nobody"


def open_to_nobody(directory: Path, binaries: Path) -> Path:
    """Give our own directory to `nobody`; return binaries it can read, a copy where the installed ones are closed.

    Raises ServerFailed where a parent directory is closed: opening that one is not ours to do.
    """
    os.chown(directory, NOBODY, NOBODY)
    if not _reachable(directory):
        raise ServerFailed(
            f"Postgres cannot run as root, and the user nobody cannot reach {directory}: "
            "choose another --data directory, run as a normal user, or set DATABASE_URL"
        )
    if _reachable(binaries / "postgres"):
        return binaries
    package, copy = binaries.parent.parent, directory / "binaries"
    if not copy.exists():
        beside = directory / "binaries.new"
        shutil.rmtree(beside, ignore_errors=True)
        for tree in (package, package.with_name(f"{package.name}.libs")):
            if tree.is_dir():
                shutil.copytree(tree, beside / tree.name, symlinks=True)
        beside.chmod(0o755)
        beside.rename(copy)
    return copy / binaries.relative_to(package.parent)


def _reachable(path: Path) -> bool:
    probe = tethered(
        ["/bin/ls", "-d", f"{path}/." if path.is_dir() else str(path)], at_death=signal.SIGINT, identity="nobody"
    )
    return subprocess.run(probe, capture_output=True).returncode == 0


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _end_orphan(data: Path) -> None:
    """End what a killed `up`, or a killed server, left on this directory, and wait until all of it is gone.

    The caller holds the lock of the data directory, so no living `up` can own it. A server that began beside sessions
    of its dead predecessor would destroy the data; Postgres looks for that too, but gives up where we wait.
    """
    lines = _pid_file(data)
    if not lines or not lines[0].isdigit():
        return
    chief, until = int(lines[0]), time.monotonic() + ORPHAN_S
    if chief in _on_directory(data, chief):
        _signal(chief, signal.SIGINT)
    elif _exists(chief):  # the number now belongs to somebody else, whom Postgres would take for its own server
        (data / "postmaster.pid").unlink(missing_ok=True)
    while left := _on_directory(data, chief):
        if time.monotonic() > until:
            for pid in left:
                _signal(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _on_directory(data: Path, chief: int) -> list[int]:
    """The Postgres processes that work on this data; where there is no /proc, only the chief is looked at."""
    if not Path("/proc/self").exists():
        shown = subprocess.run(
            ["/bin/ps", "-o", "stat=,comm=", "-p", str(chief)], capture_output=True, text=True
        ).stdout
        return [chief] if "postgres" in shown and not shown.startswith("Z") else []
    found = []
    for process in Path("/proc").iterdir():
        # Others' processes come and go, and may be hidden from us.
        with contextlib.suppress(OSError):
            here = process.name.isdigit() and (process / "cwd").readlink() == data
            if here and (process / "comm").read_text().strip() == "postgres":
                found.append(int(process.name))
    return found


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
