"""Secrets made once and kept in a file only its owner can read. One rule: a secret never stands on a command line."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Make `path` (and what leads to it) when missing; it alone is closed to others, its parents are left as they are."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path.resolve()


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:  # a full disk: a server that is started again every second would leave thousands
        beside.unlink(missing_ok=True)
        raise


def kept(path: Path, make: Callable[[], str] = lambda: secrets.token_hex(32)) -> str:
    """The text in `path`; made and written on the first call."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        made = make()
        write_private(path, made + "\n")
        return made
