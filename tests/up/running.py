"""Start a whole Helix for a test, as `./helix up --json` does, and end it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.up.directory import ROOT, Facts

SAID_CHARACTERS = 3000
"""Of the standard error shown when there is no ready line."""
END_S = 60
"""Everything has its own deadline below this."""


def begin(data: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """`helix up` on a free port; its standard error goes to a file beside the data."""
    with open(f"{data}.stderr", "a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up", "--json", "--port", "0", "--data", str(data), *words],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=data.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", **environment},
        )


def ready(up: subprocess.Popen[str]) -> Facts:
    """The ready line; fails with what `up` said instead."""
    assert up.stdout
    line = up.stdout.readline()
    if not line:
        assert isinstance(up.args, list)
        data = up.args[up.args.index("--data") + 1]
        raise AssertionError(f"up ended with {up.wait(END_S)}: {Path(f'{data}.stderr').read_text()[-SAID_CHARACTERS:]}")
    facts: Facts = json.loads(line)
    return facts


@contextmanager
def running(data: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], Facts]]:
    up = begin(data, *words)
    try:
        yield up, ready(up)
    finally:
        end(up)


def end(up: subprocess.Popen[str]) -> int:
    """SIGTERM, and its exit code."""
    up.send_signal(signal.SIGTERM)
    try:
        return up.wait(END_S)
    finally:
        up.kill()
        if up.stdout:
            up.stdout.close()


def pids(facts: Facts) -> list[int]:
    return [pid for role in facts["pids"].values() for pid in role]  # type: ignore[attr-defined]  # mypy sees objects


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its parent to take note does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(shown) and not shown.startswith("Z")


def soon(true: Callable[[], bool]) -> bool:
    """Whether it becomes true before the test's patience ends."""
    until = time.monotonic() + END_S
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def echo(facts: Facts, words: str) -> str:
    """What the sandbox answers to these words, through the whole road."""
    body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": words}]}
    request = urllib.request.Request(
        f"{facts['base_url']}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {facts['api_key']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=END_S) as answer:
        content: str = json.load(answer)["choices"][0]["message"]["content"]
        return content
