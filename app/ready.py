"""How a process tells the `up` that started it that it is ready. One rule: a word on an inherited pipe, never a guess."""

from __future__ import annotations

import contextlib
import os
from typing import Final

VARIABLE: Final = "HELIX_READY_FD"


def announce() -> None:
    """Say once that this process serves. Nothing happens where nobody asked, or when it has been said."""
    fd = os.environ.pop(VARIABLE, None)  # taken out, so that no child of ours speaks for us
    if fd is None:
        return
    with contextlib.suppress(BrokenPipeError):  # `up` has stopped listening: it is about to stop us too
        os.write(int(fd), b"\n")
    os.close(int(fd))
