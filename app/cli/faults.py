"""`helix faults`: break a Helix of its own for some minutes, by a seed, and say whether it kept its promises.

One rule: the seed is always said, and the evidence is always kept; the verdict can be reached again from it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from app.faults.campaign import Result

EXIT_BROKEN: Final = 1
EXIT_IMPOSSIBLE: Final = 2

MINUTES_MAX: Final = 50.0
"""Live streams, in which the checker sees who spoke last, are kept for an hour."""


def faults(
    seed: Annotated[
        int | None, typer.Option(min=0, help="What is asked and broken; chosen and said if left out.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, max=MINUTES_MAX, help="How long to break it.")] = 1.0,
    scenario: Annotated[str, typer.Option(help="Which way to break it; `list` names them.")] = "all",
    evidence: Annotated[Path | None, typer.Option(help="Where to leave what was seen; faults-<time> here.")] = None,
    check: Annotated[Path | None, typer.Option(help="Only judge an evidence folder again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Kill, freeze and cut a Helix of its own under load, and check what it promised. Ends with 1 when it broke a promise."""
    from app.faults.campaign import judge, run
    from app.faults.power import CannotRun
    from app.faults.scenarios import SCENARIOS

    if scenario == "list":
        if as_json:
            typer.echo(json.dumps({name: one.title for name, one in SCENARIOS.items()}))
        else:
            for name, one in SCENARIOS.items():
                typer.echo(f"{name:17} {one.title}")
        return
    if check:
        _tell(judge(check), check, as_json)
        return
    if scenario not in SCENARIOS:
        typer.echo(f"there is no scenario {scenario}; there are {', '.join(SCENARIOS)}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE)
    chosen = secrets.randbelow(10**6) if seed is None else seed
    folder = evidence or Path.cwd() / f"faults-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if folder.exists() and any(folder.iterdir()):
        typer.echo(f"{folder} holds evidence already", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE)
    try:
        result = asyncio.run(
            run(
                scenario,
                SCENARIOS[scenario],
                seed=chosen,
                seconds=minutes * 60,
                evidence=folder.resolve(),
                say=lambda stage: typer.echo(f"faults: {stage}", err=True),
            )
        )
    except (CannotRun, RuntimeError) as cannot:
        typer.echo(f"faults: {scenario} cannot be run: {cannot}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE) from None
    _tell(result, folder, as_json)


def _tell(result: Result, folder: Path, as_json: bool) -> None:
    from app.faults.checker import INVARIANTS, NOT_APPLICABLE

    if as_json:
        typer.echo(json.dumps(result.document() | {"evidence": str(folder)}))
    else:
        figures = result.verdict.figures
        typer.echo(f"{result.scenario}, seed {result.seed}, {result.seconds:.0f} s")
        typer.echo(f"  faults: {figures.faults}, commands in hand when they struck: {figures.commands_hit}")
        typer.echo(f"  {figures.calls} stories, {figures.promised} requests promised, {figures.terminals} terminals")
        typer.echo(
            f"  {figures.resumptions} resumptions, {figures.restarts_seen} restarts seen, {figures.parked} parked"
        )
        calls = f"{figures.provider_calls} provider calls, {figures.provider_calls_repeated} of them again"
        typer.echo(f"  {calls}, {figures.provider_calls_unexplained} unexplained; {figures.bytes_lost} bytes lost")
        typer.echo(f"  HTTP statuses: {figures.statuses}")
        for name, meaning in INVARIANTS.items():
            count = result.verdict.count(name)
            word = f"not applicable: {NOT_APPLICABLE[name]}" if name in NOT_APPLICABLE else "held"
            typer.echo(f"  {name:3} {f'BROKEN {count} times' if count else word}: {meaning}")
        for finding in result.verdict.findings[:20]:
            typer.echo(f"    {finding.invariant} {finding.request} {finding.what}")
        for fault in result.unbroken:
            typer.echo(f"  could not be done: {fault}")
        wanted = f" (a control run, must break {', '.join(result.must_break)})" if result.must_break else ""
        typer.echo(f"{'passed' if result.passed else 'FAILED'}{wanted}; evidence in {folder}")
    if not result.passed:
        raise typer.Exit(EXIT_BROKEN)
