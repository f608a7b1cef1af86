"""What the hands that break a Helix can reach, and whom they may touch.

One rule: only a process that is a child of the campaign's own `up`, or of the campaign itself, is ever touched.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from app.embedded.postgres import Postgres
from app.faults.clocks import Clocks
from app.faults.power import PowerCuts
from app.faults.proxy import Proxy
from app.faults.three_nodes import Node
from app.up.directory import Facts

Role = Literal["worker", "web", "projector", "log", "cache", "postgres"]

Server = Literal["log", "postgres", "provider"]
"""What a line leads to."""


class NotBroken(Exception):
    """The fault could not be done; the message says why."""


class AlreadyDead(NotBroken):
    """The victim has ended by itself, and its successor is not there yet: to be tried again."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the hands can reach."""

    facts_file: Path
    supervisor: int
    """The pid of `up`."""
    lease_s: float
    outage_s: float
    partitions: int = 1
    power: PowerCuts | None = None
    postgres: Postgres | None = None
    proxies: Mapping[Server, Proxy] = field(default_factory=dict)
    clocks: Clocks | None = None
    nodes: Sequence[Node] = ()
    stale: tuple[str, Callable[[], int]] | None = None
    """Consumer's name and pid of the worker without a fence."""

    def facts(self) -> Facts:
        """As they are by now."""
        return cast(Facts, json.loads(self.facts_file.read_text()))

    def pids(self, role: Role) -> list[int]:
        return self.facts()["pids"][role]


def must_be_child(pid: int, parent: int) -> None:
    """Raises AlreadyDead where the pid is not, or no more, a living child of the parent."""
    shown = subprocess.run(["/bin/ps", "-o", "ppid=,stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    words = shown.split()
    if len(words) < 2 or int(words[0]) != parent or words[1].startswith("Z"):
        raise AlreadyDead(f"{pid} is not a living child of {parent}")
