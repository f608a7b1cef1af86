"""The report says which goals were met, keeps every run, and is written whole."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from app.bench.ratios import add_ratios
from app.bench.report import Figure, Report, machine, number, tables
from app.bench.scale import QUICK


def figure(key: str, **runs: list[float]) -> Figure:
    return Figure(key, f"title of {key}", "unit", dict(runs))


def report(*figures: Figure, failures: dict[str, dict[str, int]] | None = None) -> Report:
    return Report(
        at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        scale=asdict(QUICK),
        seconds=1.5,
        machine=machine(),
        figures={each.key: each for each in figures},
        cpu_by_role={"cpu_s_per_1000": {"web": 0.25, "worker": 0.75}},
        memory_mb={"helix": {"web": 100.0, "postgres": 50.0}},
        failures=failures or {},
    )


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (figure("cpu_s_per_1000", helix=[1.5, 1.3, 1.4]), True),
        (figure("cpu_s_per_1000", helix=[1.5, 1.3, 1.5]), False),
        (figure("streams_held", helix=[700.0]), True),
        (figure("streams_held", helix=[400.0]), False),
        (figure("cpu_s_per_1000", litellm=[9.0]), None),
        (figure("requests_per_s", helix=[900.0]), None),
    ],
)
def test_a_goal_is_met_by_the_median(measured: Figure, met: bool | None) -> None:
    assert measured.met is met


def test_the_file_keeps_every_run_and_its_goal(tmp_path: Path) -> None:
    path = report(figure("chunk_cpu_us", helix=[30.0, 50.0, 40.0], litellm=[800.0])).write(tmp_path)
    assert path.name == "bench-20260102T030405Z.json"
    said = orjson.loads(path.read_bytes())
    assert said["figures"] == [
        {
            "key": "chunk_cpu_us",
            "title": "title of chunk_cpu_us",
            "unit": "unit",
            "runs": {"helix": [30.0, 50.0, 40.0], "litellm": [800.0]},
            "values": {"helix": 40.0, "litellm": 800.0},
            "goal": {"bound": "at_most", "value": 36},
            "met": False,
        }
    ]
    assert said["machine"]["cores"] >= 1
    assert said["machine"]["versions"]["aiohttp"]


def test_the_table_says_met_and_missed() -> None:
    console = Console(width=200, record=True, file=StringIO())
    shown = report(figure("chunk_cpu_us", helix=[40.0]), figure("added_p50_ms", helix=[3.0], direct=[0.3]))
    for table in tables(shown):
        console.print(table)
    text = console.export_text()
    assert "missed" in text
    assert "met" in text
    assert "≤ 36" in text


def test_a_run_is_right_only_when_helix_failed_nothing() -> None:
    assert report(failures={"litellm": {"http_500": 3}}).right
    assert not report(failures={"helix": {"wrong_words": 1}}).right


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (100.0, "100"), (1.2345, "1.23"), (0.0123, "0.0123"), (0, "0"), (0.00001, "1.0e-05")],
)
def test_a_number_has_three_figures(value: float, text: str) -> None:
    assert number(value) == text


def test_a_ratio_is_made_of_medians() -> None:
    figures = {"cpu_s_per_1000": figure("cpu_s_per_1000", helix=[1.0, 9.0, 1.5], litellm=[12.0])}
    add_ratios(figures)
    assert figures["cpu_peer_ratio"].values == {"helix": 8.0}


def test_a_ratio_to_what_was_not_measured_is_left_out() -> None:
    figures = {"cpu_s_per_1000": figure("cpu_s_per_1000", helix=[1.0])}
    add_ratios(figures)
    assert list(figures) == ["cpu_s_per_1000"]
