"""`helix doctor`. One rule: the worst comes first, what is bad ends with a word on how to mend it, and with exit code 1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.settings import settings

if TYPE_CHECKING:
    from app.doctor.checks import Check
    from app.doctor.examine import Report
    from app.doctor.partitions import Partition, Stand
    from app.doctor.servers import LogNode

MARKS: Final = {"bad": "BAD", "warning": "warning", "unknown": "unknown", "good": "ok"}
MARK_WIDTH: Final = max(len(mark) for mark in MARKS.values())
ROWS_MAX: Final = 12
"""Of one table; the worst are shown, the rest is counted."""
MIB: Final = 1024**2
GIB: Final = 1024**3


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Check every dependency and setting, show how the partitions stand, and say what to mend."""
    chosen = settings()
    from app.doctor.examine import examine
    from app.up.directory import default_directory

    report = asyncio.run(examine(chosen, default_directory()))
    if as_json:
        typer.echo(json.dumps(report.as_document()))
    else:
        for line in page(report):
            typer.echo(line)
    raise typer.Exit(0 if report.healthy else 1)


def page(report: Report) -> Iterator[str]:
    """The report as a person reads it."""
    wrong = [check for check in report.checks if check.verdict != "good"]
    yield from _checks(wrong)
    for title, rows in (
        ("log servers", _nodes(report.nodes)),
        ("partitions", _partitions(report.partitions)),
        ("workers", _workers(report.partitions)),
        ("readers", _readers(report.readers)),
    ):
        if len(rows) > 1:
            yield from ("", title, *_table(rows))
    yield ""
    yield from _checks([check for check in report.checks if check.verdict == "good"])
    counts = [f"{sum(check.verdict == verdict for check in wrong)} {MARKS[verdict]}" for verdict in ("bad", "warning")]
    yield ""
    yield ("healthy: " if report.healthy else "NOT healthy: ") + ", ".join(counts)


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        yield f"{MARKS[check.verdict]:<{MARK_WIDTH}}  {check.name:<{width}}  {check.found}"
        if check.mend:
            yield f"{'':{MARK_WIDTH}}  {'':{width}}  → {check.mend}"


def _nodes(nodes: Sequence[LogNode]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("node", "role", "memory", "fsync", "eviction", "partitions")]
    for node in sorted(nodes, key=lambda one: one.facts is not None):
        facts = node.facts
        if facts is None:
            rows.append((node.address, node.role, "AWAY", "", "", _numbers(node.partitions)))
            continue
        memory = f"{facts.used_bytes / MIB:,.0f} MiB of {facts.limit_bytes / GIB:,.1f} GiB"
        shown = (facts.fsync or "not told", facts.policy or "not told")
        rows.append((node.address, node.role, memory, *shown, _numbers(node.partitions)))
    return _worst(rows)


def _partitions(found: Sequence[Partition]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("partition", "node", "waiting", "held", "oldest", "events", "parked")]
    for one in sorted(found, key=lambda one: (not one.away, -(one.oldest_s or 0.0), -one.parked, one.number)):
        if one.away:
            rows.append((str(one.number), one.node, "AWAY", "", "", "", ""))
            continue
        oldest = "-" if one.oldest_s is None else _span(one.oldest_s)
        counts = (f"{one.waiting:,}", f"{one.pending:,}", oldest, f"{one.events:,}", f"{one.parked:,}")
        rows.append((str(one.number), one.node, *counts))
    return _worst(rows)


def _workers(found: Sequence[Partition]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("worker", "holds", "idle", "partitions")]
    by_name: dict[str, list[tuple[int, int, float]]] = {}
    for one in found:
        for owner in one.owners:
            by_name.setdefault(owner.name, []).append((one.number, owner.holds, owner.idle_s))
    idle = {name: min(seconds for _, _, seconds in there) for name, there in by_name.items()}
    for name in sorted(by_name, key=lambda name: -idle[name]):
        there = by_name[name]
        held = sum(holds for _, holds, _ in there)
        rows.append((name, f"{held:,}", _span(idle[name]), _numbers([number for number, _, _ in there])))
    return _worst(rows)


def _readers(stands: Sequence[Stand]) -> list[Sequence[str]]:
    """A line for each projection: where it is furthest behind."""
    from app.doctor.partitions import COUNTED_MAX

    rows: list[Sequence[str]] = [("reader", "behind", "late", "at partition", "run by")]
    for name in dict.fromkeys(one.projection for one in stands):
        mine = [one for one in stands if one.projection == name and one.behind is not None]
        if not mine:
            rows.append((name, "unknown", "", "", ""))
            continue
        last = max(mine, key=lambda one: (one.late_s, one.behind or 0))
        by = sorted({(one.held_by or "nobody").removeprefix("helix projector ") for one in mine})
        behind = sum(one.behind or 0 for one in mine)
        more = "+" if any(one.behind == COUNTED_MAX for one in mine) else ""
        rows.append(
            (name, f"{behind:,}{more}", _span(last.late_s), str(last.partition) if behind else "-", ", ".join(by))
        )
    return rows


def _worst(rows: list[Sequence[str]]) -> list[Sequence[str]]:
    more = len(rows) - 1 - ROWS_MAX
    return rows if more <= 0 else [*rows[: ROWS_MAX + 1], (f"and {more} more", *[""] * (len(rows[0]) - 1))]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _numbers(of: Iterable[int]) -> str:
    """`0-5, 8`: runs are drawn together."""
    runs: list[list[int]] = []
    for one in sorted(of):
        if runs and one == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], one]
        else:
            runs.append([one])
    return ", ".join("-".join(str(end) for end in run) for run in runs) or "-"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
