"""How each tool is installed from its lock, pointed at a base URL, and run."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.sdk.environment import PLACE

HERE: Final = Path(__file__).parent

NODE_WALKS: Final = ("node-sdks", "vercel")
"""Environments whose `walk.mjs` tells what it found."""

PATIENCE_S: Final = 120
"""One run of one tool, on a machine with other work to do."""


def missing() -> str | None:
    """Why none of these can run here; None when they can."""
    return None if shutil.which("node") and shutil.which("npm") else "node and npm are not installed"


def installed(name: str) -> Path:
    """The directory of a tool's environment; it takes some seconds when it must be made."""
    place, lock = PLACE / name, HERE / name / "package-lock.json"
    built, stamp = place / "built-from", hashlib.sha256(lock.read_bytes()).hexdigest()
    place.mkdir(exist_ok=True, parents=True)
    with open(place / "lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for file in (HERE / name).iterdir():
            shutil.copy(file, place)
        if not built.exists() or built.read_text() != stamp:
            built.unlink(missing_ok=True)
            npm = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(npm, cwd=place, check=True, capture_output=True)
            built.write_text(stamp)
    return place


def walk(name: str, base_url: str, key: str) -> dict[str, str | None]:
    """What a walk in Node found: check → its fault, or None."""
    place = installed(name)
    said = _run(["node", str(place / "walk.mjs")], place, {"HELIX_BASE_URL": f"{base_url}/v1", "HELIX_KEY": key})
    found: dict[str, str | None] = json.loads(said)
    return found


def claude_code(base_url: str, key: str, model: str, prompt: str, directory: Path) -> Any:
    """Claude Code's own account of one task done in this directory, which is its home as well."""
    words = ["-p", prompt, "--model", model, "--output-format", "json", "--dangerously-skip-permissions"]
    environment = {
        "HOME": str(directory),
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_AUTH_TOKEN": key,
        "ANTHROPIC_SMALL_FAST_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",  # it may do what it is told here
    }
    return json.loads(_run([_program("claude-code", "claude"), *words], directory, environment))


def codex(base_url: str, key: str, model: str, prompt: str, directory: Path) -> list[Any]:
    """The events of one task that Codex did in this directory, which is its home as well."""
    home = directory / ".codex"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "helix"\n\n[model_providers.helix]\nname = "Helix"\n'
        f'base_url = "{base_url}/v1"\nenv_key = "HELIX_KEY"\nwire_api = "responses"\n'
    )
    words = ["exec", "--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox", prompt]
    environment = {"HOME": str(directory), "CODEX_HOME": str(home), "HELIX_KEY": key}
    said = _run([_program("codex", "codex"), *words], directory, environment)
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def _program(name: str, program: str) -> str:
    return str(installed(name) / "node_modules" / ".bin" / program)


def _run(words: list[str], directory: Path, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        words,
        cwd=directory,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout
