"""Every client against a Helix with the sandbox: `python -m tests.sdk.clients BASE_URL KEY`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.sdk import environment
from tests.sdk.clients import tools

WORDS = "hello from here"


def main(base_url: str, key: str) -> int:
    """→ how many checks failed."""
    failed = 0

    def tell(name: str, check: str, fault: object) -> None:
        nonlocal failed
        failed += fault is not None
        sys.stdout.write(f"{'failed' if fault else 'ok':6} {name}: {check}\n{fault or ''}".rstrip() + "\n")

    for name in environment.CLIENTS:
        found = json.loads(environment.walk(name, HELIX_BASE_URL=f"{base_url}/v1", HELIX_KEY=key))
        for check, one in found.items():
            if check != "versions":
                tell(name, check, one["fault"])
    for name in tools.NODE_WALKS:
        for check, fault in tools.walk(name, base_url, key).items():
            tell(name, check, fault)
    with tempfile.TemporaryDirectory() as home:
        told = tools.claude_code(base_url, key, "anthropic/sandbox/echo", WORDS, Path(home))
        tell("claude-code", "repeats what it was told", None if told["result"].endswith(WORDS) else told)
    with tempfile.TemporaryDirectory() as home:
        events = tools.codex(base_url, key, "sandbox/echo", WORDS, Path(home))
        said = [each["item"].get("text") for each in events if each["type"] == "item.completed"]
        tell("codex", "repeats what it was told", None if WORDS in said else events)
    return failed


if __name__ == "__main__":
    raise SystemExit(min(main(*sys.argv[1:3]), 1))
