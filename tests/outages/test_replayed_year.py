"""A made-up year of events, read by a real projector, is made anew from archive and log: the short form of
`./helix faults --scenario replay`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.faults.made_up import ACCOUNTS, made_up
from app.faults.replaying import replaying
from app.faults.witnessed import Witnessed
from app.up.directory import ROOT
from events.catalog import read
from projections import PROJECTIONS

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
EVENTS = 6_000


def test_made_up_events_are_what_the_catalog_reads_and_the_same_seed_makes_the_same() -> None:
    first, second = (list(made_up(7, 500, NOON - timedelta(days=365), NOON)) for _ in range(2))
    assert first == second
    said = [read(raw) for _, raw in first]
    assert {one.type for one in said} == {"completion.finished", "completion.failed", "completion.cancelled"}
    assert len({one.at.month for one in said}) == 12
    assert 300 < len({one.account for one in said}) <= ACCOUNTS
    orders = [tuple(map(int, entry.split("-"))) for entry, _ in first]
    assert orders == sorted(set(orders))


def test_the_witness_sees_who_is_connected_to_and_which_rooms_are_loaded(tmp_path: Path) -> None:
    report = tmp_path / "seen.json"
    words = "import socket, app.vault, pathlib; from app.faults.witnessed import watch; watch(pathlib.Path(%r));"
    call = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", words % str(report) + call], check=True, cwd=ROOT)
    seen: Witnessed = json.loads(report.read_text())
    assert seen["addresses"] == {"127.0.0.1:9": 1}
    assert "app.vault" in seen["outside"]


@pytest.mark.timeout(300)
async def test_every_projection_of_a_year_is_made_anew_with_no_outside_call(reachable_path: Path) -> None:
    said: list[str] = []
    trial = await replaying(seed=20261122, count=EVENTS, evidence=reachable_path, say=said.append)
    assert trial.archived == EVENTS
    assert 0.05 * EVENTS < trial.on_log < 0.2 * EVENTS, "most of the year lies in the archive alone"
    assert {one.projection for one in trial.replayed} == {one.name for one in PROJECTIONS if one.wants is not None}
    for one in trial.replayed:
        assert (one.equal, one.entries) == (True, EVENTS)
        assert set(one.addresses) == set(trial.known)
        assert one.outside == ()
