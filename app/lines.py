"""Log lines on their way out of a process: those that tell of ordinary things wait a moment, and go together in one write.

One rule: what warns is out before the next statement runs. A kill takes the last moment of the others with it; what has
happened to a request is on the log, not in a line.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from typing import BinaryIO, Final

TOGETHER_S: Final = 0.05
"""A write costs as much as everything else about a line. Under load a write takes ten lines with it; to who reads along,
the delay is nothing."""

LINES_MAX: Final = 200
"""That wait at most; a few of them fill a pipe."""


class Lines:
    """structlog's logger and its factory in one: each process has one standard error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        self._turn = threading.Lock()
        atexit.register(self.out)

    def __call__(self, *_: object) -> Lines:
        return self

    def info(self, line: bytes) -> None:
        """Soon, where an event loop runs that can see to it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.warning(line)
            return
        self._waiting.append(line)
        if len(self._waiting) == 1:
            loop.call_later(TOGETHER_S, self.out)
        elif len(self._waiting) >= LINES_MAX:
            self.out()

    def warning(self, line: bytes) -> None:
        """Now, behind those that wait."""
        self._waiting.append(line)
        self.out()

    def out(self) -> None:
        with self._turn:
            lines, self._waiting = self._waiting, []
            if lines:
                self._file.write(b"\n".join(lines) + b"\n")
                self._file.flush()

    debug = info
    error = critical = warning


class Libraries(logging.Handler):
    """What the libraries say through the standard library: the same way out, so that the lines keep their order."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode()
        if record.levelno < logging.WARNING:
            self._lines.info(line)
        else:
            self._lines.warning(line)
