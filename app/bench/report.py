"""What was measured, as a file for machines and a table for people.

One rule: every figure keeps its single runs and stands beside the same figure of something else from the same run;
times alone say nothing about another machine.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final, Literal

import orjson
from rich.table import Table

from app.bench.targets import ROOT

_VERSIONS: Final = ("aiohttp", "asyncpg", "faststream", "hiredis", "litellm", "starlette", "uvicorn", "uvloop")
"""The packages a figure depends on most."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be; the numbers are of the goals table this project began with."""

    bound: Literal["at_most", "at_least"]
    value: float

    def met_by(self, value: float) -> bool:
        return value <= self.value if self.bound == "at_most" else value >= self.value


GOALS: Final[dict[str, Goal]] = {
    "cpu_s_per_1000": Goal("at_most", 1.4),
    "cpu_peer_ratio": Goal("at_least", 7),
    "chunk_cpu_us": Goal("at_most", 36),
    "chunk_peer_ratio": Goal("at_least", 20),
    "added_p50_ms": Goal("at_most", 4),
    "streams_held": Goal("at_least", 700),
    "projection_events_per_s": Goal("at_least", 5_000),
    "replay_events_per_s": Goal("at_least", 10_000),
    "failures": Goal("at_most", 0),
}
"""Key of a figure → what Helix should reach."""


@dataclass(slots=True)
class Figure:
    """One thing measured, for each target it was measured of."""

    key: str
    title: str
    unit: str
    runs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, target: str, value: float) -> None:
        self.runs.setdefault(target, []).append(value)

    @property
    def values(self) -> dict[str, float]:
        """Target → the median of its runs."""
        return {target: median(runs) for target, runs in self.runs.items()}

    @property
    def met(self) -> bool | None:
        """Whether Helix reached the goal; None: there is none, or it was not measured."""
        goal, value = GOALS.get(self.key), self.values.get("helix")
        return None if goal is None or value is None else goal.met_by(value)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    at: datetime
    scale: dict[str, object]
    """How much of everything was done."""
    seconds: float
    machine: dict[str, object]
    figures: dict[str, Figure]
    cpu_by_role: dict[str, dict[str, float]]
    """Figure → role → the same figure's part, medians of runs."""
    memory_mb: dict[str, dict[str, float]]
    """Target → role → peak resident memory."""
    failures: dict[str, dict[str, int]]
    """Target → kind of failure → how many questions."""

    @property
    def right(self) -> bool:
        """Whether Helix answered every question as it should, and billed each once."""
        return not self.failures.get("helix")

    def encode(self) -> bytes:
        said = {
            **{name: value for name, value in asdict(self).items() if name != "figures"},
            "figures": [
                {
                    **asdict(figure),
                    "values": figure.values,
                    "goal": GOALS.get(figure.key),
                    "met": figure.met,
                }
                for figure in self.figures.values()
            ],
        }
        return orjson.dumps(said, option=orjson.OPT_INDENT_2)

    def write(self, directory: Path) -> Path:
        """`bench-<time>.json` in the directory."""
        path = directory / f"bench-{self.at:%Y%m%dT%H%M%SZ}.json"
        path.write_bytes(self.encode())
        return path


def machine() -> dict[str, object]:
    """The facts of this machine and build that a figure depends on."""
    flags = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "python_compiler": platform.python_compiler(),
        "python_optimised": "--enable-optimizations" in flags,
        "versions": {name: version(name) for name in _VERSIONS},
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain")),
    }


def _git(*words: str) -> str | None:
    """What git says; None outside a checkout."""
    try:
        command = ["git", *words]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # fixed words
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def number(value: float) -> str:
    """Three figures that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def tables(report: Report) -> Sequence[Table]:
    """The report for people."""
    targets = [name for name in ("direct", "echo", "helix", "litellm", "floor") if _has(report, name)]
    figures = Table(title=f"Helix bench, medians, {report.machine['cores']} cores", title_justify="left")
    figures.add_column("")
    for name in (*targets, "goal", ""):
        figures.add_column(name, justify="right")
    for figure in report.figures.values():
        goal = GOALS.get(figure.key)
        figures.add_row(
            f"{figure.title}, {figure.unit}" if figure.unit else figure.title,
            *(number(figure.values[name]) if name in figure.values else "" for name in targets),
            f"{'≤' if goal.bound == 'at_most' else '≥'} {number(goal.value)}" if goal else "",
            {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[figure.met],
        )
    return [figures, _by_role(report)]


def _has(report: Report, target: str) -> bool:
    return any(target in figure.runs for figure in report.figures.values())


def _by_role(report: Report) -> Table:
    parts: Mapping[str, Mapping[str, float]] = {
        **report.cpu_by_role,
        "peak memory, MB": report.memory_mb.get("helix", {}),
    }
    table = Table(title="Helix by role", title_justify="left")
    table.add_column("")
    for name in parts:
        table.add_column(name, justify="right")
    for role in sorted({role for part in parts.values() for role in part}):
        table.add_row(role, *(number(part[role]) if role in part else "" for part in parts.values()))
    table.add_section()
    table.add_row("all", *(number(sum(part.values())) for part in parts.values()))
    return table


def now() -> datetime:
    return datetime.now(UTC)
