"""A short campaign with a fixed seed, and the control run that shows that the checker is not blind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.faults.campaign import Result, judge, run
from app.faults.preload import CannotRun
from app.faults.scenarios import SCENARIOS

SEED = 20261122
CAMPAIGN_S = 60
"""An end for a machine that is busy; the one round is over before."""


async def campaign(scenario: str, evidence: Path) -> Result:
    said: list[str] = []
    return await run(
        scenario,
        SCENARIOS[scenario],
        seed=SEED,
        seconds=CAMPAIGN_S,
        evidence=evidence,
        say=said.append,
        rounds_max=1,
    )


@pytest.mark.timeout(400)
async def test_what_was_promised_is_kept_whatever_is_killed_or_frozen(tmp_path: Path) -> None:
    result = await campaign("short", tmp_path / "evidence")
    document = result.document()
    assert result.verdict.findings == (), json.dumps(document, indent=1)
    assert result.unbroken == ()
    figures = result.verdict.figures
    assert figures.faults == {"worker": 4, "log": 1, "web": 1, "projector": 1, "freeze": 1}
    assert figures.commands_hit > 0
    assert figures.resumptions > 0
    assert figures.promised > 50
    assert set(figures.statuses) <= {0, 200, 202, 503}, "what is away is said to be away, and nothing else"
    assert judge(tmp_path / "evidence").verdict == result.verdict


@pytest.mark.timeout(400)
async def test_a_log_without_fsync_and_a_worker_without_a_fence_are_found_out(tmp_path: Path) -> None:
    try:
        result = await campaign("control", tmp_path / "evidence")
    except CannotRun as cannot:
        pytest.skip(str(cannot))
    assert result.passed, json.dumps(result.document(), indent=1)
    assert result.verdict.figures.bytes_lost > 0
    lost = [one for one in result.verdict.findings if one.invariant == "I1"]
    stale = [one for one in result.verdict.findings if one.invariant == "I5"]
    assert lost and stale
