"""A command of `helix` under a witness: `python -m app.faults.witnessed REPORT words of the command …`.

When it ends, REPORT holds every address that was connected to, every program that was started, and which of the
rooms that talk to the outside were loaded. One rule: the interpreter itself tells (an audit hook), nothing is replaced.
"""

from __future__ import annotations

import atexit
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Final, TypedDict

OUTSIDE: Final = ("app.providers", "app.vault", "app.worker", "handlers", "litellm", "stripe", "httpx", "aiohttp")
"""Rooms and packages that speak to providers, open content, send mail or money."""


class Witnessed(TypedDict):
    """What was seen. An address is `host:port`; a name that was looked up stands under its own name."""

    addresses: dict[str, int]
    programs: list[str]
    outside: list[str]


def watch(report: Path) -> None:
    """From now until the process ends."""
    addresses: Counter[str] = Counter()
    programs: list[str] = []

    def heard(event: str, details: tuple[object, ...]) -> None:
        match event, details:
            case "socket.connect" | "socket.sendto", (_, (host, port, *_)):
                addresses[f"{host}:{port}"] += 1
            case "socket.connect" | "socket.sendto", (_, address):
                addresses[str(address)] += 1
            case "socket.getaddrinfo" | "socket.gethostbyname", (host, *_):
                addresses[str(host)] += 1
            case "subprocess.Popen" | "os.system" | "os.posix_spawn" | "os.exec", (program, *_):
                programs.append(str(program))

    def write() -> None:
        outside = sorted(str(name) for name in OUTSIDE if name in sys.modules)
        seen: Witnessed = {"addresses": dict(addresses), "programs": programs, "outside": outside}
        report.write_text(json.dumps(seen))

    sys.addaudithook(heard)
    atexit.register(write)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    from app.cli import main

    main()
