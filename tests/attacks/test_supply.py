"""Only what was locked runs here, and no secret is among our files (A28)."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.supply import LOCKS, ROOT, faults, locked, secrets_in, starters, strangers, unowned

HASH = "--hash=sha256:" + "0" * 64


def test_this_checkout_and_this_environment_are_as_they_should_be() -> None:
    assert faults() == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_names_one_version_and_its_hashes(lock: str) -> None:
    assert len(locked((ROOT / lock).read_text())) > 50


@pytest.mark.parametrize(
    "line",
    [
        f"litellm>=1.0 {HASH}",
        f"litellm {HASH}",
        "litellm==1.106.2",
        "litellm==1.106.2 --hash=md5:00",
        f"litellm @ https://evil.example/litellm.whl {HASH}",
        f"litellm==1.106.2 {HASH} --find-links=https://evil.example",
        "--find-links https://evil.example",
        "-e .",
    ],
)
def test_a_line_that_leaves_a_choice_is_no_lock(line: str) -> None:
    with pytest.raises(ValueError, match=r"pins nothing|without a hash"):
        locked(f"good==1 \\\n    {HASH}\n{line}\n")


def test_what_was_not_locked_is_named() -> None:
    wanted = {"litellm": "1.106.2", "some-thing": "1"}
    installed = [("litellm", "1.82.8"), ("Some.Thing", "1"), ("other", "1"), ("pip", "24")]
    assert [fault.split()[0] for fault in strangers(installed, wanted)] == ["litellm", "other"]


def test_what_runs_at_every_start_of_python_is_named(tmp_path: Path) -> None:
    for name in ("litellm_init.pth", "distutils-precedence.pth", "sitecustomize.py", "harmless.py"):
        (tmp_path / name).touch()
    assert [fault.split()[0] for fault in starters(tmp_path)] == ["litellm_init.pth", "sitecustomize.py"]


def test_what_no_package_brought_is_named(tmp_path: Path) -> None:
    (tmp_path / "good-1.dist-info").mkdir()
    (tmp_path / "good-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: good\nVersion: 1\n")
    (tmp_path / "good-1.dist-info" / "RECORD").write_text("good/__init__.py,,\nalone.py,,\ngood-1.dist-info/RECORD,,\n")
    for name in ("good", "evil", "__pycache__"):
        (tmp_path / name).mkdir()
    for name in ("good/__init__.py", "alone.py", "orjson.py"):
        (tmp_path / name).touch()  # what a package claims and has not is no file of its, to newer readers of its list
    assert [fault.split()[0] for fault in unowned(tmp_path)] == ["evil", "orjson.py"]


@pytest.mark.parametrize(
    "secret",
    [
        "sk-" + "proj-" + "a1B2" * 10,
        "sk-" + "ant-api03-" + "a1B2" * 20,
        "xai" + "-" + "a1B2" * 20,
        "sk_" + "live_" + "a1B2" * 6,
        "AKIA" + "ABCDEFGH12345678",
        "ghp" + "_" + "a1B2" * 9,
        "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIE" * 16,
    ],
    ids=lambda secret: secret[:8],
)
def test_a_secret_in_a_file_is_named_and_not_shown(tmp_path: Path, secret: str) -> None:
    file = tmp_path / "notes.md"
    file.write_text(f'key = "{secret}"\n')
    found = list(secrets_in([file, tmp_path / "gone"]))
    assert {fault.split(":")[0] for fault in found} == {"notes.md"}
    assert secret not in "".join(found)
