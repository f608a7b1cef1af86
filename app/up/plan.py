"""What an `up` consists of: its servers, the environment of its processes, the words that start them.

One rule: a server whose address stands in the environment is not ours, and is neither started nor stopped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.api_keys import new_key
from app.embedded.postgres import Postgres
from app.embedded.server import Server
from app.embedded.valkey import Valkey
from app.kept import kept
from app.settings import PROVIDER_KEYS, Settings, settings
from app.sockets import VARIABLE as LISTEN_FD
from app.sockets import listen
from app.up.directory import MAILS, Directory, Facts
from app.up.prepare import ADMIN_KEY, API_KEY
from app.up.program import PROCESS_NAME, Program
from app.up.voice import Voice

SECRETS: Final = ("API_KEY_ENCRYPTION_KEY", "JWT_SECRET_KEY")
ANY_ADDRESS: Final = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not bound


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is started."""

    settings: Settings
    environment: dict[str, str]
    listener: socket.socket
    base_url: str
    servers: dict[str, Server]
    """`log`, `cache`, `postgres`: those that are ours."""
    sandbox: socket.socket | None
    api_key: str
    admin_key: str

    def facts(self) -> Facts:
        """As the contract has them; the pids are filled in by who knows them."""
        return {
            "ready": True,
            "base_url": self.base_url,
            "api_key": self.api_key,
            "admin_key": self.admin_key,
            "database_url": self.settings.database,
            "redis_url": self.settings.log,
            "cache_url": self.settings.cache,
            "pids": {"web": [], "worker": [], "projector": [], "log": [], "cache": [], "postgres": []},
        }

    def prepare(self, voice: Voice) -> Program:
        keys = {API_KEY: self.api_key, ADMIN_KEY: self.admin_key}
        return Program("prepare", ["app.up.prepare"], {**self.environment, **keys}, voice)

    def sandboxes(self, voice: Voice) -> list[Program]:
        if self.sandbox is None:
            return []
        fd = self.sandbox.fileno()
        return [Program("sandbox", ["app.up.sandbox", str(fd)], self.environment, voice, (fd,))]

    def workers(self, count: int, voice: Voice) -> list[Program]:
        return [Program(f"worker-{n}", ["app.cli", "worker"], self.environment, voice) for n in range(1, count + 1)]

    def projectors(self, voice: Voice) -> list[Program]:
        return [Program("projector-1", ["app.cli", "projector"], self.environment, voice)]

    def webs(self, voice: Voice) -> list[Program]:
        fd = self.listener.fileno()
        environment = {**self.environment, LISTEN_FD: str(fd)}
        count = self.settings.workers
        return [Program(f"web-{n}", ["app.cli", "web"], environment, voice, (fd,)) for n in range(1, count + 1)]


def plan(directory: Directory, host: str, port: int) -> Plan:
    """Raises OSError when the address is taken, SystemExit when a setting makes no sense."""
    listener = listen(host, port)
    bound_port: int = listener.getsockname()[1]
    servers = _servers(directory.path)
    found = {"log": "REDIS_URL", "cache": "CACHE_URL", "postgres": "DATABASE_URL"}
    given = {found[name]: server.url for name, server in servers.items()}
    for name in SECRETS:
        if not os.environ.get(name):
            given[name] = directory.secret(name.lower())
    if not os.environ.get(PROCESS_NAME):
        # Consumers of two machines must never share a name: each would take for its own what the other is at work on.
        # The data directory tells apart what has one host name; a copy of it starts on a host of another name.
        mark = kept(directory.path / "machine", lambda: secrets.token_hex(3))
        given[PROCESS_NAME] = f"{socket.gethostname()}-{mark}"
    sandbox = None
    if not any(os.environ.get(f"{name.upper()}_API_KEY") for name in PROVIDER_KEYS):
        sandbox = listen("127.0.0.1", 0)
        given["HELIX_SANDBOX_URL"] = f"http://127.0.0.1:{sandbox.getsockname()[1]}"
    if not os.environ.get("SENDGRID_API_KEY") and not os.environ.get("SMTP_URL"):
        given["HELIX_MAIL_DIR"] = str(directory.path / MAILS)
    metrics = _emptied(directory.path / "metrics")
    given["HELIX_METRICS_DIR"] = given["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
    given["HELIX_HOST"], given["PORT"] = host, str(bound_port)
    shown = "127.0.0.1" if host in ANY_ADDRESS else f"[{host}]" if ":" in host else host
    base_url = f"http://{shown}:{bound_port}"
    if not os.environ.get("HELIX_PUBLIC_URL"):
        given["HELIX_PUBLIC_URL"] = base_url
    os.environ.update(given)
    return Plan(
        settings=settings(),
        environment=dict(os.environ),
        listener=listener,
        base_url=base_url,
        servers=servers,
        sandbox=sandbox,
        api_key=kept(directory.secret_file("api_key"), new_key),
        admin_key=kept(directory.secret_file("admin_key"), new_key),
    )


def _servers(path: Path) -> dict[str, Server]:
    servers: dict[str, Server] = {}
    if not os.environ.get("REDIS_URL"):
        servers["log"] = Valkey(path / "log", "log")
    if not os.environ.get("CACHE_URL"):
        servers["cache"] = Valkey(path / "cache", "cache")
    if not os.environ.get("DATABASE_URL"):
        servers["postgres"] = Postgres(path / "postgres")
    return servers


def _emptied(metrics: Path) -> Path:
    """Counts of processes that are long gone would be added to those of today."""
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(mode=0o700)
    return metrics
