"""What the platform is told to run is what the launcher knows."""

from __future__ import annotations

import tomllib

from app import jobs, worker
from app.cli import COMMANDS
from app.http import server
from app.up import run
from app.up.directory import ROOT

FILES = {"web": "railway.toml", "worker": "railway.worker.toml", "projector": "railway.projector.toml"}


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


def test_the_platforms_patience_is_longer_than_the_longest_drain() -> None:
    patience = {
        file.name: tomllib.loads(file.read_text())["deploy"]["drainingSeconds"] for file in ROOT.glob("railway*.toml")
    }
    needed = {
        "railway.toml": server.DRAIN_S + server.LAST_WORDS_S,
        "railway.worker.toml": worker.GRACE_S + jobs.DRAIN_S + jobs.LEAVING_S,
        "railway.projector.toml": 5.0,  # it holds nothing: a batch that is not committed was never read
    }
    spare_s = 5.0  # for closing connections
    assert {name for name, seconds in patience.items() if seconds < needed[name] + spare_s} == set()
    assert all(run.END_S[role] >= needed[name] + spare_s for role, name in FILES.items())


def test_only_the_web_migrates_and_is_asked_for_its_health() -> None:
    files = {file.name: tomllib.loads(file.read_text())["deploy"] for file in ROOT.glob("railway*.toml")}
    assert [name for name, deploy in files.items() if "preDeployCommand" in deploy] == ["railway.toml"]
    assert [name for name, deploy in files.items() if "healthcheckPath" in deploy] == ["railway.toml"]
