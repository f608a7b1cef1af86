"""Whether an HTTP address of this machine answers 200. One rule: any other answer, or none, is a no."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import Final

ASK_S: Final = 5.0

# A proxy set for the outside must not be asked about this machine.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


async def answers(url: str) -> bool:
    return await asyncio.to_thread(_answers, url)


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=ASK_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
