"""How fast a projection is rebuilt. One rule: it is the operator's own command, rehearsed, on the running Helix."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final

import orjson

from app.bench.targets import ROOT, Helix, without_servers

_PATIENCE_S: Final = 120.0
"""The longest a rehearsal may take; at the goal's speed it is a million events."""


class ReplayFailed(RuntimeError):
    """The command ended with an error, or its rows were not the live ones; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A replay that built all rows, compared them with the live ones and put nothing in place."""

    entries: int
    seconds: float
    """As the command itself took it: rebuilding and comparing, without starting Python."""


async def rehearse(projection: str, helix: Helix) -> Rehearsal:
    """`./helix replay … --dry-run` → what it did. Raises ReplayFailed."""
    process = await asyncio.create_subprocess_exec(
        *(str(ROOT / "helix"), "replay", projection, "--dry-run", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**without_servers(os.environ), "HELIX_DATA": str(helix.data)},
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            said, complained = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ReplayFailed(f"replay took longer than {_PATIENCE_S:.0f} s") from None
    if process.returncode:
        words = (said + complained).decode(errors="replace")[-500:]
        raise ReplayFailed(f"replay ended with {process.returncode}: {words}")
    document = orjson.loads(said)
    return Rehearsal(entries=document["entries"], seconds=document["duration_ms"] / 1000)
