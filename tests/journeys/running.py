"""A whole Helix as its users see it: its addresses, its command line, its accounts.

One rule: nothing is known here that `run.json` and the command line do not say.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from app.up.directory import ROOT, Facts

CLI_S = 60
"""A command of the command line takes a second or two; a machine with other work to do gets time."""


@dataclass(frozen=True)
class Account:
    """One user with a key."""

    id: str
    email: str
    key: str
    prefix: str


@dataclass(frozen=True)
class Helix:
    """One `up` that runs."""

    data: Path
    facts: Facts

    @property
    def base_url(self) -> str:
        return self.facts["base_url"]

    @property
    def stderr(self) -> Path:
        """What its processes have said."""
        return Path(f"{self.data}.stderr")

    def now(self) -> Facts:
        """The facts as they are by now: pids change when a child is restarted."""
        facts: Facts = json.loads((self.data / "run.json").read_text())
        return facts

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`helix` with these words, beside the `up`."""
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *words],
            capture_output=True,
            text=True,
            timeout=CLI_S,
            cwd=ROOT,
            env={**os.environ, "HELIX_DATA": str(self.data)},
        )

    async def ask(self, *words: str) -> Any:
        """What the command says with `--json`; it must succeed."""
        ran = await asyncio.to_thread(self.run, *words, "--json")
        assert ran.returncode == 0, f"{words[:2]}: {ran.stderr}"
        return json.loads(ran.stdout)

    async def account(self, tier: str = "enterprise", *words: str) -> Account:
        """A new user with a new key; `words` are further ones of `key create`."""
        email = f"{secrets.token_hex(8)}@example.com"
        user = await self.ask("user", "create", email, "--tier", tier)
        key = await self.ask("key", "create", email, *words)
        return Account(str(UUID(user["id"])), email, key["key"], key["prefix"])
