"""What the platform is told to run is what the launcher knows."""

from __future__ import annotations

import tomllib

from app.cli import COMMANDS
from app.up.directory import ROOT


def commands() -> dict[str, str]:
    """Place → the command it starts."""
    found = {}
    for file in sorted(ROOT.glob("railway*.toml")):
        deploy = tomllib.loads(file.read_text())["deploy"]
        for number, command in enumerate([deploy["startCommand"], *deploy.get("preDeployCommand", [])]):
            found[f"{file.name} {number}"] = command
    for line in (ROOT / "Procfile").read_text().splitlines():
        name, _, command = line.partition(": ")
        found[f"Procfile {name}"] = command
    return found


def test_every_started_command_is_one_of_the_launchers() -> None:
    assert [(place, words) for place, words in commands().items() if words.split()[1] not in COMMANDS] == []
    assert {words.split()[1] for words in commands().values()} == {"web", "worker", "projector", "migrate"}


def test_only_the_web_migrates_and_is_asked_for_its_health() -> None:
    files = {file.name: tomllib.loads(file.read_text())["deploy"] for file in ROOT.glob("railway*.toml")}
    assert [name for name, deploy in files.items() if "preDeployCommand" in deploy] == ["railway.toml"]
    assert [name for name, deploy in files.items() if "healthcheckPath" in deploy] == ["railway.toml"]
