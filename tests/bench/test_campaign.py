"""A whole run at the smallest scale, on a whole Helix: every figure is there, and every request was billed once."""

from __future__ import annotations

import pytest

from app.bench import campaign
from app.bench.scale import Scale

SMALLEST = Scale(
    rounds=1,
    plain={"direct": 20, "echo": 20, "helix": 20},
    bursts={"direct": 3, "helix": 3},
    seconds_max=10.0,
    paced_s=0.5,
    streams=(2,),
    floor_s=0.05,
    copies=1,
    backlog=20,
    later=False,
)


@pytest.mark.timeout(300)  # a whole Helix starts, works and stops in it, on a machine that may be busy
async def test_a_run_measures_everything_and_finds_each_request_billed_once() -> None:
    stages: list[str] = []
    result = await campaign.run(SMALLEST, peer=None, say=stages.append)
    assert result.failures == {}
    assert result.right
    billed, answered = (result.figures[key].values["helix"] for key in ("usage_rows", "answers"))
    assert billed == answered > 20
    measured = {
        "cpu_s_per_1000",
        "chunk_cpu_us",
        "added_p50_ms",
        "first_word_ms",
        "streams_carried",
        "projection_events_per_s",
        "replay_events_per_s",
        "xadd_ratio",
        "copy_ratio",
    }
    assert measured <= set(result.figures)
    assert {"web", "worker", "projector", "log", "cache", "postgres"} <= set(result.memory_mb["helix"])
    assert "replay" in stages
