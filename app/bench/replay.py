"""How fast a projection is rebuilt. One rule: it is the operator's own command, rehearsed, on the running Helix."""

from __future__ import annotations

import asyncio
import os
from time import perf_counter
from typing import Final

from app.bench.targets import ROOT, Helix, without_servers

_PATIENCE_S: Final = 120.0
"""The longest a rehearsal may take; at the goal's speed it is a million events."""


class ReplayFailed(RuntimeError):
    """The command ended with an error; the message holds its last words."""


async def rehearsed(projection: str, helix: Helix) -> float:
    """Seconds that `./helix replay … --dry-run` takes, from the first word to the last. Raises ReplayFailed."""
    started = perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(str(ROOT / "helix"), "replay", projection, "--dry-run", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**without_servers(os.environ), "HELIX_DATA": str(helix.data)},
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, complained = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ReplayFailed(f"replay took longer than {_PATIENCE_S:.0f} s") from None
    if process.returncode:
        raise ReplayFailed(f"replay ended with {process.returncode}: {complained.decode(errors='replace')[-300:]}")
    return perf_counter() - started
