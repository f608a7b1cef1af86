"""What the children say, passed on to standard error with their names. One rule: nobody waits for who reads it.

A terminal that is stopped, or a pipe nobody empties, must not hold up a web process in the middle of an answer: what
does not fit is dropped, and how much is said.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import Final

QUEUE_PIECES: Final = 1000
"""Pieces of up to one read (64 kB) that wait for a slow reader."""
FLUSH_S: Final = 1.0
STDERR: Final = 2


class Voice:
    """Written to from the event loop, read by a thread of its own."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[str | None] = queue.Queue(QUEUE_PIECES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="voice", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """A line of `up` itself."""
        self._put(f"helix: {text}\n")

    def pass_on(self, name: str, lines: list[str]) -> None:
        """Lines of a child."""
        if lines:
            self._put("".join(f"{name} | {line}\n" for line in lines))

    def close(self) -> None:
        """Wait a moment for what is still to be written."""
        self._put(None)
        self._thread.join(FLUSH_S)

    def _put(self, piece: str | None) -> None:
        try:
            self._pieces.put_nowait(piece)
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        try:
            while (piece := self._pieces.get()) is not None:
                dropped, self._dropped = self._dropped, 0
                text = f"helix: {dropped} pieces of output dropped\n{piece}" if dropped else piece
                left = text.encode(errors="replace")
                while left:  # past sys.stderr, whose lock this thread must not hold when the interpreter closes
                    left = left[os.write(STDERR, left) :]
        except OSError:  # nobody reads any more: go on without a voice
            while self._pieces.get() is not None:
                pass
