"""`helix faults`: break a Helix of its own for some minutes, by a seed, and say whether it kept its promises.

One rule: the seed is always said, and the evidence is always kept; the verdict can be reached again from it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from app.faults.campaign import Result
    from app.faults.replaying import Replay

EXIT_BROKEN: Final = 1
EXIT_IMPOSSIBLE: Final = 2

MINUTES_MAX: Final = 50.0
"""Live streams, in which the checker sees who spoke last, are kept for an hour."""


REPLAY: Final = "replay"
REPLAY_TITLE: Final = "[F28] a year of events read live, then every projection made anew and compared; no faults"


def faults(
    seed: Annotated[
        int | None, typer.Option(min=0, help="What is asked and broken; chosen and said if left out.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, max=MINUTES_MAX, help="How long to break it.")] = 1.0,
    scenario: Annotated[str, typer.Option(help="Which way to break it; `list` names them.")] = "all",
    events: Annotated[int, typer.Option(min=1000, help="How many, of the scenario replay.")] = 1_000_000,
    evidence: Annotated[Path | None, typer.Option(help="Where to leave what was seen; faults-<time> here.")] = None,
    check: Annotated[Path | None, typer.Option(help="Only judge an evidence folder again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Kill, freeze and cut a Helix of its own under load, and check what it promised. Ends with 1 when it broke a promise."""
    from app.faults.campaign import judge, run
    from app.faults.preload import CannotRun
    from app.faults.replaying import replaying
    from app.faults.scenarios import SCENARIOS

    titles = {name: one.title for name, one in SCENARIOS.items()} | {REPLAY: REPLAY_TITLE}
    if scenario == "list":
        if as_json:
            typer.echo(json.dumps(titles))
        else:
            for name, title in titles.items():
                typer.echo(f"{name:17} {title}")
        return
    if check:
        _tell(judge(check), check, as_json)
        return
    if scenario not in titles:
        typer.echo(f"there is no scenario {scenario}; there are {', '.join(titles)}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE)
    chosen = secrets.randbelow(10**6) if seed is None else seed
    folder = evidence or Path.cwd() / f"faults-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if folder.exists() and any(folder.iterdir()):
        typer.echo(f"{folder} holds evidence already", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE)
    say: Callable[[str], None] = lambda stage: typer.echo(f"faults: {stage}", err=True)  # noqa: E731  # one expression
    try:
        if scenario == REPLAY:
            folder.mkdir(parents=True, exist_ok=True)
            trial = replaying(seed=chosen, count=events, evidence=folder.resolve(), say=say)
            _tell_replay(asyncio.run(trial), folder, as_json)
            return
        result = asyncio.run(
            run(
                scenario,
                SCENARIOS[scenario],
                seed=chosen,
                seconds=minutes * 60,
                evidence=folder.resolve(),
                say=say,
            )
        )
    except (CannotRun, RuntimeError) as cannot:
        typer.echo(f"faults: {scenario} cannot be run: {cannot}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE) from None
    _tell(result, folder, as_json)


def _tell(result: Result, folder: Path, as_json: bool) -> None:
    from app.faults.checker import INVARIANTS

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
        if figures.revoked:
            typer.echo(f"  a revoked key: {figures.revoked}, a limited one: {figures.limited}")
        for name, meaning in INVARIANTS.items():
            count = result.verdict.count(name)
            typer.echo(f"  {name:3} {f'BROKEN {count} times' if count else 'held'}: {meaning}")
        for finding in result.verdict.findings[:20]:
            typer.echo(f"    {finding.invariant} {finding.request} {finding.what}")
        for fault in result.unbroken:
            typer.echo(f"  could not be done: {fault}")
        wanted = f" (a control run, must break {', '.join(result.must_break)})" if result.must_break else ""
        typer.echo(f"{'passed' if result.passed else 'FAILED'}{wanted}; evidence in {folder}")
    if not result.passed:
        raise typer.Exit(EXIT_BROKEN)


def _tell_replay(trial: Replay, folder: Path, as_json: bool) -> None:
    document = json.dumps(trial.document() | {"evidence": str(folder)})
    (folder / "verdict.json").write_text(document)
    if as_json:
        typer.echo(document)
    else:
        typer.echo(f"replay, seed {trial.seed}: {trial.events:,} events, read live in {trial.live_s:.0f} s")
        typer.echo(f"  {trial.archived:,} in the archive, {trial.on_log:,} on the log")
        for one in trial.replayed:
            rows = "rows equal" if one.equal else "rows DIFFER"
            memory = f"memory {one.rss_first_mb} MB at first, {one.rss_rest_mb} MB then"
            speed = f"{one.rate:,.0f}/s, {one.processor_s:.0f} s of a processor"
            typer.echo(f"  {one.projection:17} {one.entries:,} entries, {speed}, {rows}, {memory}")
            typer.echo(
                f"  {'':17} connected to {', '.join(one.addresses)}; outside: {', '.join(one.outside) or 'nothing'}"
            )
        typer.echo(f"{'passed' if trial.passed else 'FAILED'}; evidence in {folder}")
    if not trial.passed:
        raise typer.Exit(EXIT_BROKEN)
