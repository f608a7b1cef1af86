"""What the bench asks of the operating system. One rule: it is asked for our own process alone, never for Helix."""

from __future__ import annotations

import resource
from typing import Final

_SOCKETS: Final = 8192
"""Open files for a few thousand streams; many systems start a process with 256 or 1024."""


def allow_many_sockets() -> None:
    """Raise this process's soft limit of open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _SOCKETS if hard == resource.RLIM_INFINITY else min(_SOCKETS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
