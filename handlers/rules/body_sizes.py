"""How large a body each tier may send. Data only: the door counts, this file says up to where.

One rule: none of these is above the shell's own bound, which holds before anyone knows who sends (`app/http/shell.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from events.completions import Tier

MIB: Final = 1024 * 1024

BODY_BYTES_MAX: Final[Mapping[Tier, int]] = {
    # The longest context windows hold some 4 MB of text, the usual ones 1 MB; a photograph as base64 is 1 to 4 MB. Whoever
    # pays nothing gets a long text or a picture, whoever pays a full window with a few of them.
    "free": 2 * MIB,
    "pro": 8 * MIB,
    "team": 16 * MIB,
    "enterprise": 16 * MIB,
}
