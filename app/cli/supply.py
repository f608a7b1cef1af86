"""What runs is what was locked, and no secret lies among our files: a step of `./helix test` that asks no network (A28).

One rule: it reads and compares; it mends nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")

STARTS_WITH_PYTHON: Final = frozenset({"distutils-precedence.pth"})
"""What may run at every start of Python: setuptools' own line. The stolen litellm of March 2026 came with one more such file."""
OF_THE_ENVIRONMENT: Final = frozenset({"pip", "setuptools"})
"""What `venv` itself brings; no lock names them."""

FILE_BYTES_MAX: Final = 2_000_000
"""No file of ours that a person wrote is larger."""

_PINNED: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^ ;\\]+)")
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}(?: \\)?")

SECRETS: Final = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{32}"),
    "a key of OpenAI": re.compile(rb"\bsk-(?:proj-)?[A-Za-z0-9_-]*[A-Za-z0-9]{32,}"),
    "a key of Anthropic": re.compile(rb"\bsk-ant-[A-Za-z0-9_-]{32,}"),
    "a key of xAI": re.compile(rb"\bxai-[A-Za-z0-9]{32,}"),
    "a key of Perplexity": re.compile(rb"\bpplx-[A-Za-z0-9]{32,}"),
    "a key of Stripe": re.compile(rb"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{32,}"),
    "a key of SendGrid": re.compile(rb"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
    "a key of AWS": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})"),
    "a token of Slack": re.compile(rb"\bxox[abpr]-[A-Za-z0-9-]{20,}"),
    "a key of Google": re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"),
}


def locked(text: str) -> dict[str, str]:
    """A lock file → versions by normalised name. Raises ValueError at a line that pins nothing or has no hash, or that
    names an index, an address or a path."""
    found: dict[str, str] = {}
    for entry in re.sub(r"\\\n", " ", text).splitlines():
        line = entry.strip()
        if not line or line.startswith("#"):
            continue
        pinned = _PINNED.match(line)
        if pinned is None:
            raise ValueError(f"pins nothing: {line[:80]}")
        if not _HASH.search(line) or "://" in line or " @ " in line:
            raise ValueError(f"without a hash, or from an address: {line[:80]}")
        found[normal(pinned["name"])] = pinned["version"]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def strangers(installed: Iterable[tuple[str, str]], wanted: dict[str, str]) -> Iterator[str]:
    """What is installed and is not what was locked."""
    for name, version in installed:
        if normal(name) not in OF_THE_ENVIRONMENT and wanted.get(normal(name)) != version:
            yield f"{name} {version} is installed; the lock says {wanted.get(normal(name), 'nothing of it')}"


def starters(place: Path) -> Iterator[str]:
    """Files that Python runs at every start and that nobody meant."""
    for file in (*place.glob("*.pth"), *place.glob("sitecustomize.py"), *place.glob("usercustomize.py")):
        if file.name not in STARTS_WITH_PYTHON:
            yield f"{file.name} runs at every start of Python and stands in no list"


def unowned(place: Path) -> Iterator[str]:
    """What lies at the top of this directory, ready to be imported, and no installed package says is its own."""
    owned = {"__pycache__"}
    for each in distributions(path=[str(place)]):
        owned.update(file.parts[0] for file in each.files or ())
    for entry in sorted(place.iterdir()):
        if entry.name not in owned:
            yield f"{entry.name} lies among the packages and belongs to none"


def secrets_in(files: Iterable[Path]) -> Iterator[str]:
    """`file: kind` for every secret; never the secret."""
    for file in files:
        if file.is_file() and file.stat().st_size <= FILE_BYTES_MAX:
            content = file.read_bytes()
            for kind, looks_like in SECRETS.items():
                if looks_like.search(content):
                    yield f"{file.name}: {kind}"


def ours() -> list[Path]:
    """Every file that git keeps, or would; all below the root where there is no git."""
    try:
        listed = subprocess.run(
            ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),  # noqa: S607  # wherever git is
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return [file for file in ROOT.rglob("*") if ".venv" not in file.parts and ".git" not in file.parts]
    return [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]


def faults() -> list[str]:
    """Everything that is wrong, in words."""
    wanted: dict[str, str] = {}
    for lock in LOCKS:
        wanted |= locked((ROOT / lock).read_text())
    here = [Path(place) for place in sys.path if place.endswith("site-packages")]
    installed = [(each.name, each.version) for each in distributions(path=[str(place) for place in here])]
    return [
        *strangers(installed, wanted),
        *(fault for place in here for fault in (*starters(place), *unowned(place))),
        *secrets_in(ours()),
    ]


if __name__ == "__main__":
    found = faults()
    for fault in found:
        print(f"helix: supply: {fault}", file=sys.stderr)  # noqa: T201  # the output of a step
    raise SystemExit(1 if found else 0)
