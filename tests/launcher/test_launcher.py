"""The launcher builds its environment once, whole, and finds itself from anywhere. Without packages: nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.up.directory import ROOT

PROGRAM = "import os, sys; print(os.getcwd(), *sys.argv[1:], sep='|')"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository in a path with a space, with locks that lock nothing and a program that prints its words."""
    root = tmp_path / "a clone"
    (root / "app" / "cli").mkdir(parents=True)
    shutil.copy(ROOT / "helix", root)
    shutil.copy(ROOT / "app" / "cli" / "environment.py", root / "app" / "cli")
    for package in ("app", "app/cli"):
        (root / package / "__init__.py").touch()
    (root / "app" / "cli" / "__main__.py").write_text(PROGRAM)
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (root / lock).write_text("# nothing\n")
    return root


def helix(path: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HELIX_PYTHON": sys.executable}
    return subprocess.run([str(path), *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_first_call_builds_and_says_so_and_later_calls_do_not(clone: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(clone / "helix")
    (tmp_path / "app").mkdir()  # a caller's own directory of the same name must not be taken for ours

    first = helix(clone / "helix", "some", "words", cwd=clone)
    second = helix(link, "--json", "a b", cwd=tmp_path)

    assert first.stdout == f"{clone}|some|words\n"
    assert "making .venv" in first.stderr
    assert (second.stdout, second.stderr) == (f"{tmp_path}|--json|a b\n", "")


def test_a_half_built_environment_is_built_again_and_so_is_one_from_another_lock(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 7\n")
    (clone / ".venv" / "bin" / "python").chmod(0o755)

    rebuilt = helix(clone / "helix", cwd=clone)
    (clone / "requirements.lock").write_text("# nothing, but another\n")
    renewed = helix(clone / "helix", cwd=clone)

    assert (rebuilt.returncode, renewed.returncode) == (0, 0)
    assert "making .venv" in rebuilt.stderr
    assert "making .venv" in renewed.stderr


def test_the_check_adds_its_tools_to_what_is_there(clone: Path) -> None:
    helix(clone / "helix", cwd=clone)
    check = helix(clone / "helix", "test", cwd=clone)
    again = helix(clone / "helix", cwd=clone)

    assert "installing requirements-dev.lock" in check.stderr
    assert "making .venv" not in check.stderr
    assert again.stderr == ""


def test_two_first_calls_at_once_build_once(clone: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HELIX_PYTHON": sys.executable}
    calls = [
        subprocess.Popen([str(clone / "helix")], cwd=clone, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [call.communicate()[1] for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert sorted("making .venv" in each for each in said) == [False, True]


def test_a_package_without_its_hash_is_refused(clone: Path) -> None:
    wheel = clone / "nothing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        packed.writestr("nothing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr("nothing-1.0.dist-info/RECORD", "")
    (clone / "requirements.lock").write_text(f"nothing @ {wheel.as_uri()}\n")
    refused = helix(clone / "helix", cwd=clone)
    assert refused.returncode == 1
    assert "hash" in refused.stderr.lower()
    assert not (clone / ".venv" / "built-from").exists()


def test_no_fitting_python_is_said_in_one_line(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "cksum", "grep", "readlink"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    ran = subprocess.run([str(clone / "helix")], env={"PATH": str(tools)}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "needs Python 3.11" in ran.stderr
