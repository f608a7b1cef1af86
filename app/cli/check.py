"""`helix test`: lint, types, supply and tests, each shown. One rule: the environment of the caller changes no result.

With words, only pytest runs, on those words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

ROOT: Final = Path(__file__).parent.parent.parent

TOGETHER: Final = "3"
"""Test processes at once: most tests wait for a server, a lease or a lock, so two cores carry three. Each has servers of
its own, and a file's tests stay together, since they share what takes long to start."""

STEPS: Final = {
    "lint": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types": ("mypy",),
    "supply": ("app.cli.supply",),
    "tests": ("pytest", "-n", TOGETHER, "--dist", "loadfile"),
}


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """The whole check: lint, format, types, supply, tests. With words: only pytest, on those words."""
    words = context.args
    steps = {"tests": ("pytest", *words)} if words else STEPS
    results = {name: _run(name, command, quiet_stdout=as_json) for name, command in steps.items()}
    failed = [name for name, (code, _) in results.items() if code != 0]
    if as_json:
        facts = {name: {"exit_code": code, "seconds": seconds} for name, (code, seconds) in results.items()}
        typer.echo(json.dumps({"passed": not failed, "steps": facts}))
    elif failed:
        print(f"helix: failed: {', '.join(failed)}", file=sys.stderr, flush=True)  # noqa: T201  # pytest's line stays last on stdout
    raise typer.Exit(1 if failed else 0)


def _run(name: str, command: tuple[str, ...], *, quiet_stdout: bool) -> tuple[int, float]:
    """→ exit code, seconds. Its output goes straight through."""
    print(f"helix: {name}: {' '.join(command)}", file=sys.stderr, flush=True)  # noqa: T201  # progress, for a person
    began = time.monotonic()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "MYPY", "RUFF"))}
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        stdout=sys.stderr if quiet_stdout else None,
    )
    return ran.returncode, round(time.monotonic() - began, 1)
