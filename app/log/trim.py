"""Cutting the log below what everybody has read. One rule: by the position of readers, never by length.

A stream that is cut to a length drops what nobody has read, and says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from app.log import keys
from app.log.connection import LogRefused
from app.log.log import Log

_SCRIPT: Final = resources.files("app.log.scripts").joinpath("trim.lua").read_bytes()

ENTRIES_MAX: Final = 10_000
"""Entries a call: about a millisecond of the log server's time."""


@dataclass(frozen=True, slots=True)
class GroupMissing:
    """A group that has to be there is not: nobody knows what it has read, so nothing may go."""

    group: str


@dataclass(frozen=True, slots=True)
class LogBehind:
    """Readers stand behind the newest entry there ever was: this is not the log that they have read."""

    last_id: str


async def trim(log: Log, partition: int, upto: str, groups: Sequence[str]) -> int | GroupMissing | LogBehind:
    """Let a partition's events go, up to an entry and that one too, short of what any group has not acknowledged.

    → how many went; at most ENTRIES_MAX, so it is called again until none do. Up to a hundred entries below the limit
    may stay until the next time. One step on the server: no group can fall back meanwhile.
    """
    said = await log.command("EVAL", _SCRIPT, 1, keys.events(partition), upto, ENTRIES_MAX, *groups)
    match said:
        case [b"trimmed", gone]:
            return int(gone)
        case [b"missing", group]:
            return GroupMissing(group.decode())
        case [b"behind", last_id]:
            return LogBehind(last_id.decode())
    raise LogRefused(f"trim answered {said!r}")
